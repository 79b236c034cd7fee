"""The pixel maths: pre and post, in C++, with float64 twins."""

// The CPython binding: plan objects that own their tables and scratch, and run() without the GIL.
//
// Arguments are positional and already validated for sense by pre.py and post.py; what is checked here is what memory
// safety needs: shape, type and strides of every buffer.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <atomic>
#include <memory>
#include <new>

#include "dispatch.h"
#include "plans.h"

static PyObject *contract_error, *internal_error;
static int chosen_kernels;                 // index for kernels_at(); plans remember theirs

static void refuse(PyObject* type, const char* what, const char* remedy, const char* array) {
    PyObject* message = PyUnicode_FromFormat("%s: %s", array, what);
    PyObject* args = message ? PyTuple_Pack(1, message) : nullptr;
    PyObject* kwargs = Py_BuildValue("{s:s}", "remedy", remedy);
    PyObject* error = args && kwargs ? PyObject_Call(type, args, kwargs) : nullptr;
    if (error) PyErr_SetObject(type, error);
    Py_XDECREF(error);
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    Py_XDECREF(message);
}

// ---- buffers -------------------------------------------------------------------------------------------------------

// Holds the buffers of one call, and releases them.
class Buffers {
public:
    Buffers() = default;
    Buffers(const Buffers&) = delete;
    Buffers& operator=(const Buffers&) = delete;
    ~Buffers() {
        while (count_) PyBuffer_Release(&held_[--count_]);
    }

    bool plane(PyObject* object, const char* name, int width, int height, bool writable, View* view) {
        const Py_buffer* b = take(object, name, writable, "B", 2);
        if (!b) return false;
        if (b->shape[0] != height || b->shape[1] != width) return wrong(name, "has the wrong size");
        const ptrdiff_t step = width == 1 ? 1 : b->strides[1];
        if (step != 1 && step != 2) return wrong(name, "has a pixel step other than 1 or 2 bytes");
        *view = {static_cast<uint8_t*>(b->buf), b->strides[0], step};
        return true;
    }

    bool picture(PyObject* const* objects, const char* name, int width, int height, bool writable, Picture* picture) {
        View* p = picture->plane;
        if (!plane(objects[0], name, width, height, writable, &p[0])) return false;
        if (p[0].step != 1) return wrong(name, "has a luma step other than 1 byte");
        for (int c = 1; c < 3; c++)
            if (!plane(objects[c], name, (width + 1) / 2, (height + 1) / 2, writable, &p[c])) return false;
        return true;
    }

    // A C-contiguous array of any number of dimensions that hold `total` elements with the last ones as given.
    void* dense(PyObject* object, const char* name, const char* format, bool writable, const Py_ssize_t* shape, int ndim) {
        const Py_buffer* b = take(object, name, writable, format, ndim);
        if (!b) return nullptr;
        Py_ssize_t expected = b->itemsize;
        for (int i = ndim - 1; i >= 0; i--) {
            if (b->shape[i] != shape[i]) return wrong(name, "has the wrong shape"), nullptr;
            if (shape[i] > 1 && b->strides[i] != expected) return wrong(name, "is not C-contiguous"), nullptr;
            expected *= shape[i];
        }
        return b->buf;
    }

private:
    static bool wrong(const char* name, const char* what) {
        refuse(contract_error, what, "Pass an array of the size, type and layout that the plan was made for.", name);
        return false;
    }

    const Py_buffer* take(PyObject* object, const char* name, bool writable, const char* format, int ndim) {
        Py_buffer* b = &held_[count_];
        const int flags = PyBUF_STRIDES | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
        if (count_ == CAPACITY || PyObject_GetBuffer(object, b, flags) < 0) {
            PyErr_Clear();
            wrong(name, writable ? "is not a writable array" : "is not an array");
            return nullptr;
        }
        count_++;
        if (!b->format || strcmp(b->format, format) != 0) return wrong(name, "has the wrong data type"), nullptr;
        if (b->ndim != ndim) return wrong(name, "has the wrong number of dimensions"), nullptr;
        return b;
    }

    static constexpr int CAPACITY = 24;
    Py_buffer held_[CAPACITY];
    int count_ = 0;
};

// ---- plans ---------------------------------------------------------------------------------------------------------

template <class OWNED>
struct Plan {
    PyObject_HEAD
    OWNED* owned;
    const Kernels* kernels;
    std::atomic_flag busy;
};

template <class OWNED>
static void plan_dealloc(PyObject* self) {
    PyTypeObject* type = Py_TYPE(self);
    delete reinterpret_cast<Plan<OWNED>*>(self)->owned;
    type->tp_free(self);
    Py_DECREF(type);
}

template <class OWNED, class... ARGUMENTS>
static PyObject* plan_make(PyTypeObject* type, const ARGUMENTS&... arguments) {
    std::unique_ptr<OWNED> owned;
    try {
        owned = std::make_unique<OWNED>(arguments...);
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
    auto* self = reinterpret_cast<Plan<OWNED>*>(type->tp_alloc(type, 0));
    if (!self) return nullptr;
    self->owned = owned.release();
    self->kernels = &kernels_at(chosen_kernels);
    self->busy.clear();
    return reinterpret_cast<PyObject*>(self);
}

// Runs `work` without the GIL; two threads in one plan would share its scratch, so the second is refused.
template <class OWNED, class WORK>
static PyObject* plan_run(Plan<OWNED>* self, const WORK& work) {
    if (self->busy.test_and_set()) {
        refuse(internal_error, "already running in another thread", "Make one plan per stream and thread.", "plan");
        return nullptr;
    }
    Py_BEGIN_ALLOW_THREADS;
    work();
    Py_END_ALLOW_THREADS;
    self->busy.clear();
    Py_RETURN_NONE;
}

static bool expect_arguments(Py_ssize_t got, Py_ssize_t wanted) {
    if (got == wanted) return true;
    PyErr_Format(PyExc_TypeError, "run() takes %zd arguments, not %zd", wanted, got);
    return false;
}

#define PLACEMENT_FORMAT "(ii)(dddd)(dddd)(ii)(ddp)"
#define PLACEMENT_FIELDS(w, c)                                                                                      \
    &w.frame_width, &w.frame_height, &w.source_x, &w.source_y, &w.source_width, &w.source_height, &w.target_x,      \
        &w.target_y, &w.target_width, &w.target_height, &w.width, &w.height, &c.kr, &c.kb, &c##_full

// ---- pre -----------------------------------------------------------------------------------------------------------

static PyObject* pre_new(PyTypeObject* type, PyObject* args, PyObject*) {
    Placement w;
    ColourSpace colour;
    TensorShape t;
    int colour_full, channels_first, reversed, number;
    if (!PyArg_ParseTuple(args, PLACEMENT_FORMAT "(pp(ddd)(ddd)idd)", PLACEMENT_FIELDS(w, colour), &channels_first,
                          &reversed, &t.mean[0], &t.mean[1], &t.mean[2], &t.std[0], &t.std[1], &t.std[2], &number,
                          &t.scale, &t.zero_point))
        return nullptr;
    colour.full_range = colour_full;
    t.channels_first = channels_first;
    t.reversed = reversed;
    t.number = static_cast<Number>(number);
    return plan_make<OwnedPre>(type, w, colour, t);
}

// run(y, u, v, tensor, guide or None); the frame's size is the plan's
static PyObject* pre_run(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    auto* self = reinterpret_cast<Plan<OwnedPre>*>(object);
    if (!expect_arguments(count, 5)) return nullptr;
    const PrePlan& p = self->owned->plan;
    static const char* const FORMATS[] = {"f", "e", "H", "b", "B"};
    Buffers buffers;
    Picture frame;
    uint8_t* guide = nullptr;
    const Py_ssize_t first[] = {1, 3, p.height, p.width}, last[] = {1, p.height, p.width, 3};
    const Py_ssize_t guide_shape[] = {3, p.height, p.width};
    if (!buffers.picture(args, "frame", p.frame_width, p.frame_height, false, &frame)) return nullptr;
    void* tensor = buffers.dense(args[3], "tensor", FORMATS[static_cast<int>(p.number)], true,
                                 p.channels_first ? first : last, 4);
    if (!tensor) return nullptr;
    if (args[4] != Py_None) {
        guide = static_cast<uint8_t*>(buffers.dense(args[4], "guide", "B", true, guide_shape, 3));
        if (!guide) return nullptr;
    }
    return plan_run(self, [&] { self->kernels->pre(p, frame, tensor, guide); });
}

// ---- post ----------------------------------------------------------------------------------------------------------

static bool read_chosen(PyObject* tuple, std::vector<int32_t>* chosen) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++) {
        const long channel = PyLong_AsLong(PyTuple_GET_ITEM(tuple, i));
        if (channel == -1 && PyErr_Occurred()) return false;
        chosen->push_back(static_cast<int32_t>(channel));
    }
    return true;
}

static PyObject* post_new(PyTypeObject* type, PyObject* args, PyObject*) {
    Placement w;
    ColourSpace colour;
    MatteOptions o;
    StyleShape style;
    PyObject* chosen;
    int colour_full, first, reading, refine, clean, style_first, style_reversed;
    if (!PyArg_ParseTuple(args, PLACEMENT_FORMAT "(iiipiO!)(pidpddd)(iipp(ddd)(ddd))", PLACEMENT_FIELDS(w, colour),
                          &o.raw_width, &o.raw_height, &o.channels, &first, &reading, &PyTuple_Type, &chosen, &refine,
                          &o.radius, &o.epsilon, &clean, &o.temporal, &o.floor, &o.ceiling, &style.width, &style.height,
                          &style_first, &style_reversed, &style.mean[0], &style.mean[1], &style.mean[2], &style.std[0],
                          &style.std[1], &style.std[2]))
        return nullptr;
    if (!read_chosen(chosen, &o.chosen)) return nullptr;
    colour.full_range = colour_full;
    o.channels_first = first;
    o.reading = static_cast<Reading>(reading);
    o.refine = refine;
    o.decontaminate = clean;
    style.channels_first = style_first;
    style.reversed = style_reversed;
    return plan_make<OwnedPost>(type, w, colour, o, style);
}

static bool read_job(const PostPlan& p, Buffers& buffers, PyObject* const* args, PostJob* job) {
    const Py_ssize_t w = p.raw_width, h = p.raw_height, c = p.channels;
    const Py_ssize_t first[] = {1, c, h, w}, last[] = {1, h, w, c};
    const Py_ssize_t guide_shape[] = {3, p.net_height, p.net_width}, matte_shape[] = {p.net_height, p.net_width};
    if (!buffers.picture(args, "frame", p.width, p.height, false, &job->frame)) return false;
    job->raw = static_cast<float*>(buffers.dense(args[3], "raw", "f", false, p.channels_first ? first : last, 4));
    if (!job->raw) return false;
    job->guide = static_cast<uint8_t*>(buffers.dense(args[4], "guide", "B", false, guide_shape, 3));
    if (!job->guide) return false;
    job->matte = static_cast<float*>(buffers.dense(args[5], "matte", "f", true, matte_shape, 2));
    if (!job->matte) return false;
    if (!buffers.picture(args + 6, "out", p.width, p.height, true, &job->out)) return false;
    if (args[13] != Py_None && !buffers.plane(args[13], "alpha", p.width, p.height, true, &job->alpha)) return false;
    if (job->kind == Behind::PICTURE && !buffers.picture(args + 10, "background", p.width, p.height, false, &job->background))
        return false;
    if (args[14] == Py_None) return true;
    const Py_ssize_t style_first[] = {1, 3, p.style_height, p.style_width}, style_last[] = {1, p.style_height, p.style_width, 3};
    job->style = static_cast<float*>(
        buffers.dense(args[14], "style", "f", false, p.style_channels_first ? style_first : style_last, 4));
    return job->style != nullptr;
}

// run(y, u, v, raw, guide, matte, out_y, out_u, out_v, (kind, y, u, v, radius), back_y, back_u, back_v, alpha, style,
//     (strength, on)); what is not wanted is None
static PyObject* post_run(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    auto* self = reinterpret_cast<Plan<OwnedPost>*>(object);
    if (!expect_arguments(count, 16)) return nullptr;
    PostPlan& p = self->owned->plan;
    PostJob job = {};
    int kind, y, u, v, on;
    double radius, strength;
    if (!PyArg_ParseTuple(args[9], "iiiid", &kind, &y, &u, &v, &radius)) return nullptr;
    if (!PyArg_ParseTuple(args[15], "di", &strength, &on)) return nullptr;
    job.kind = static_cast<Behind>(kind);
    job.colour[0] = static_cast<uint8_t>(y);
    job.colour[1] = static_cast<uint8_t>(u);
    job.colour[2] = static_cast<uint8_t>(v);
    job.style_strength = static_cast<float>(strength);
    job.style_on = static_cast<StyleOn>(on);
    if (job.kind == Behind::BLUR) plan_blur(*self->owned, radius, job);
    Buffers buffers;
    if (!read_job(p, buffers, args, &job)) return nullptr;
    return plan_run(self, [&] { self->kernels->post(p, job); });
}

static PyObject* post_reset(PyObject* object, PyObject*) {
    reinterpret_cast<Plan<OwnedPost>*>(object)->owned->plan.primed = false;
    Py_RETURN_NONE;
}

static PyObject* post_nans(PyObject* object, void*) {
    return PyLong_FromLongLong(reinterpret_cast<Plan<OwnedPost>*>(object)->owned->plan.nans);
}

// ---- module --------------------------------------------------------------------------------------------------------

static PyObject* isa(PyObject*, PyObject*) { return PyUnicode_FromString(kernels_at(chosen_kernels).name); }

static PyObject* isas(PyObject*, PyObject*) {
    PyObject* names = PyTuple_New(kernels_count());
    for (int i = 0; names && i < kernels_count(); i++)
        PyTuple_SET_ITEM(names, i, PyUnicode_FromString(kernels_at(i).name));
    return names;
}

static PyObject* set_isa(PyObject*, PyObject* name) {
    const char* wanted = PyUnicode_AsUTF8(name);
    if (!wanted) return nullptr;
    for (int i = 0; i < kernels_count(); i++)
        if (strcmp(kernels_at(i).name, wanted) == 0) {
            chosen_kernels = i;
            Py_RETURN_NONE;
        }
    refuse(contract_error, "this processor does not have it", "Name one of isas().", wanted);
    return nullptr;
}

#define METHOD(function) reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)(void)>(function))

static PyMethodDef pre_methods[] = {{"run", METHOD(pre_run), METH_FASTCALL, nullptr}, {nullptr, nullptr, 0, nullptr}};
static PyMethodDef post_methods[] = {{"run", METHOD(post_run), METH_FASTCALL, nullptr},
                                     {"reset", post_reset, METH_NOARGS, nullptr},
                                     {nullptr, nullptr, 0, nullptr}};
static PyGetSetDef post_getters[] = {{"nans", post_nans, nullptr, nullptr, nullptr},
                                     {nullptr, nullptr, nullptr, nullptr, nullptr}};
static PyType_Slot pre_slots[] = {{Py_tp_new, reinterpret_cast<void*>(pre_new)},
                                  {Py_tp_dealloc, reinterpret_cast<void*>(plan_dealloc<OwnedPre>)},
                                  {Py_tp_methods, pre_methods},
                                  {0, nullptr}};
static PyType_Slot post_slots[] = {{Py_tp_new, reinterpret_cast<void*>(post_new)},
                                   {Py_tp_dealloc, reinterpret_cast<void*>(plan_dealloc<OwnedPost>)},
                                   {Py_tp_methods, post_methods},
                                   {Py_tp_getset, post_getters},
                                   {0, nullptr}};
static PyType_Spec pre_spec = {"cutline.runtime.kernels._kernels.PrePlan", sizeof(Plan<OwnedPre>), 0, Py_TPFLAGS_DEFAULT,
                               pre_slots};
static PyType_Spec post_spec = {"cutline.runtime.kernels._kernels.PostPlan", sizeof(Plan<OwnedPost>), 0,
                                Py_TPFLAGS_DEFAULT, post_slots};
static PyMethodDef functions[] = {{"isa", isa, METH_NOARGS, nullptr},
                                  {"isas", isas, METH_NOARGS, nullptr},
                                  {"set_isa", set_isa, METH_O, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernels", nullptr, -1, functions, nullptr, nullptr, nullptr, nullptr};

static bool add_type(PyObject* module, const char* name, PyType_Spec* spec) {
    PyObject* type = PyType_FromSpec(spec);
    if (type && PyModule_AddObject(module, name, type) == 0) return true;
    Py_XDECREF(type);
    return false;
}

PyMODINIT_FUNC PyInit__kernels() {
    PyObject* errors = PyImport_ImportModule("cutline.runtime.errors");
    if (!errors) return nullptr;
    contract_error = PyObject_GetAttrString(errors, "ContractError");
    internal_error = PyObject_GetAttrString(errors, "InternalError");
    PyObject* device_error = PyObject_GetAttrString(errors, "DeviceError");
    Py_DECREF(errors);
    if (!contract_error || !internal_error || !device_error) return nullptr;
    if (kernels_count() == 0) {
        refuse(device_error, "is older than x86-64-v2 (no SSE4.2)", "Use a processor made after 2009.", "processor");
        return nullptr;
    }
    Py_DECREF(device_error);
    PyObject* module = PyModule_Create(&definition);
    if (!module) return nullptr;
    if (add_type(module, "PrePlan", &pre_spec) && add_type(module, "PostPlan", &post_spec)) return module;
    Py_DECREF(module);
    return nullptr;
}

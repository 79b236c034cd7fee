from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import importlib, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("cuda", "pycuda", "tensorrt", "tensorrt_rtx", "onnx", "torch"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Missing())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_every_module_of_the_runtime_imports_without_cuda_and_tensorrt() -> None:
    folder = Path(__file__).parents[3] / "runtime"
    files = [path.relative_to(folder).with_suffix("") for path in folder.rglob("*.py")]
    names = sorted({".".join(("cutline.runtime", *path.parts)).removesuffix(".__init__") for path in files})
    assert len(names) > 80
    subprocess.run([sys.executable, "-c", PROGRAM, *names], check=True, timeout=60)

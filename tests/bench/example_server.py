"""Runs llama-cpp-python's examples/server/server.py: `example_server.py CONFIGURATION SERVER_PY`

It imports the bindings of the multimodal library, which our wheel is built without, and uses them
for pictures and sound only. An empty module stands in for them; all else is as it was.
"""

import os
import runpy
import sys
from types import ModuleType

configuration, server = sys.argv[1:]
sys.modules["llama_cpp.mtmd_cpp"] = ModuleType("llama_cpp.mtmd_cpp")
# Through a pipe: a file would be left behind by the signal that ends the server.
read_end, write_end = os.pipe()
with open(write_end, "w") as pipe:  # noqa: PTH123
    pipe.write(configuration)
sys.argv = [server, "-C", f"/dev/fd/{read_end}"]
runpy.run_path(server, run_name="__main__")

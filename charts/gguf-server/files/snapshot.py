"""Gets a safetensors repository for vLLM; with an argument it waits until another one has."""

import os
import signal
import sys
import time

from huggingface_hub import snapshot_download

WAITS = len(sys.argv) > 1
# The same weights in other formats.
OTHERS = ["*.bin", "*.gguf", "*.h5", "*.msgpack", "*.onnx", "*.pt", "*.pth", "original/*"]

# As process 1 it would not end at the signal.
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
while True:
    try:
        snapshot_download(
            os.environ["MODEL_NAME"],
            revision=os.environ["MODEL_REVISION"] or None,
            ignore_patterns=OTHERS,
            local_files_only=WAITS,
        )
        break
    except FileNotFoundError as error:
        if not WAITS:
            raise
        print(f"not here yet: {error}", flush=True)
        time.sleep(10)

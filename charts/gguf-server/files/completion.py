"""`helm test`: asks the Service for a few tokens or a vector, and ends with 0 where that comes."""

import json
import os
import sys
import urllib.error
import urllib.request

URL = os.environ["URL"]
SECONDS = float(os.environ["SECONDS"])
LINES = [line.strip() for line in os.environ.get("API_KEYS", "").splitlines()]
KEY = next((line for line in LINES if line and not line.startswith("#")), "")


def ask(path: str, body: object = None) -> dict:
    data = json.dumps(body).encode() if body else None
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(URL + path, data, headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=SECONDS) as answer:
        return json.load(answer)


def text(model: str) -> str:
    prompt = {"model": model, "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}
    answer = ask("/v1/completions", prompt)
    tokens = answer["usage"]["completion_tokens"]
    if not tokens:
        sys.exit(f"{URL}: no token came")
    return f"{tokens} tokens: {answer['choices'][0]['text']!r}"


def vector(model: str) -> str:
    numbers = ask("/v1/embeddings", {"model": model, "input": "time"})["data"][0]["embedding"]
    if not any(numbers):
        sys.exit(f"{URL}: no vector came")
    return f"{len(numbers)} numbers"


try:
    model = ask("/v1/models")["data"][0]["id"]
    print(f"{model}: {vector(model) if os.environ['ASKS_FOR'] == 'vector' else text(model)}")
except urllib.error.HTTPError as error:
    sys.exit(f"{URL}: {error}: {error.read().decode(errors='replace')}")
except OSError as error:
    sys.exit(f"{URL}: {error}")

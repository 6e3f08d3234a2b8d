"""`helm test`: asks the Service for a few tokens, and ends with 0 where they come."""

import json
import os
import sys
import urllib.error
import urllib.request

URL = os.environ["URL"]
SECONDS = float(os.environ["SECONDS"])
LINES = [line.strip() for line in os.environ.get("API_KEYS", "").splitlines()]
KEY = next((line for line in LINES if line and not line.startswith("#")), "")


def ask(path, body=None):
    data = json.dumps(body).encode() if body else None
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(URL + path, data, headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=SECONDS) as answer:
        return json.load(answer)


try:
    model = ask("/v1/models")["data"][0]["id"]
    prompt = {"model": model, "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}
    answer = ask("/v1/completions", prompt)
except urllib.error.HTTPError as error:
    sys.exit(f"{URL}: {error}: {error.read().decode(errors='replace')}")
except OSError as error:
    sys.exit(f"{URL}: {error}")
tokens, text = answer["usage"]["completion_tokens"], answer["choices"][0]["text"]
print(f"{model}: {tokens} tokens: {text!r}")
sys.exit(0 if tokens > 0 else "no token came")

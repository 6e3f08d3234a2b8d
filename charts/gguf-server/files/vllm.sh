# vLLM knows one key and no file of them: the first that is in the file, as gguf-server reads it.
key=$(sed -n 's/^[[:space:]]*//; s/[[:space:]]*$//; /^[^#]/{p;q}' "$KEY_FILE")
[ -n "$key" ] || { echo "$KEY_FILE has no key: write one on a line" >&2; exit 1; }
export VLLM_API_KEY="$key"
exec vllm serve "$@"

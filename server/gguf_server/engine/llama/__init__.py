"""llama.cpp behind the contracts of ``engine.runner``. Only ``binding`` imports llama_cpp."""

"""From a package's archive to a batch of tensors: corpora, tokenizers, shards, objectives, batches."""

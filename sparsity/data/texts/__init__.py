"""Texts: corpora, vocabularies, token arrays, and batches of sentence pairs."""

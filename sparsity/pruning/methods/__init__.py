"""One method, one file: its sentence, equation, source and knobs; `pruning.method` says what a class may say."""

"""The ids of tokens that are no text: one numbering for data and networks, which do not import each other."""

BASE_TOKENS = ("<bos>", "<pad>", "<eos>")  # in the order of their ids
BOS_ID, PAD_ID, EOS_ID = range(len(BASE_TOKENS))
IGNORED = -100  # a label that no loss counts, as torch's cross entropy has it

"""From data sets to what is trained on: download, draw, split, check, vocabulary, ids, readings on a grid."""

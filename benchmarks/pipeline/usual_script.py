"""What people write to score a file of reviews with PyTorch: a Dataset, a DataLoader, padded batches, `torch.nn`.

Has the weights of a run of rnnfast's, and so must find its scores. Run as a script, it scores a Parquet file and
prints how long that took, the imports aside.
"""

import json
import re
import sys
from pathlib import Path
from time import perf_counter

import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

WORD = re.compile(r"[^\W_]+")
BATCH = 64


class Reviews(Dataset[Tensor]):
    """Rows of token ids, padded and cut to one length."""

    def __init__(self, texts: list[str], words: list[str], length: int) -> None:
        self.texts, self.length = texts, length
        self.ids = {word: number for number, word in enumerate(words)}

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, row: int) -> Tensor:
        """The ids of a text."""
        text = self.texts[row].lower().replace("<br />", " ").replace("'", "")
        ids = [self.ids.get(word, 0) for word in WORD.findall(text)][: self.length]
        return torch.tensor(ids + [1] * (self.length - len(ids)))


class Classifier(nn.Module):
    """Embedding, recurrent layer, mean and maximum over the true steps, linear."""

    def __init__(self, words: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, embedding, padding_idx=1)
        self.rnn = nn.RNN(embedding, hidden, batch_first=True)
        self.head = nn.Linear(2 * hidden, 1)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (N,) of ids (N, L)."""
        output, _ = self.rnn(self.embedding(ids))
        is_word = (ids != 1).unsqueeze(2)
        mean = (output * is_word).sum(1) / is_word.sum(1).clamp(min=1)
        highest = output.masked_fill(~is_word, -torch.inf).amax(1)
        result: Tensor = self.head(torch.cat([mean, highest], 1)).squeeze(1)
        return result


def main(run: Path, source: Path, target: Path, rows: int, threads: int) -> None:
    """Scores the first rows of a file."""
    torch.set_num_threads(threads)
    config = json.loads((run / "config.json").read_text())["model"]
    words = (run / "vocabulary.txt").read_text().splitlines()
    model = Classifier(len(words), config["embedding_size"], config["hidden_size"])
    model.load_state_dict(safetensors.torch.load_file(run / "model.safetensors"), strict=False)
    model.eval()
    started = perf_counter()
    table = pq.read_table(source).slice(0, rows)
    reviews = Reviews(table["text"].to_pylist(), words, config["sequence_length"])
    scores = []
    with torch.no_grad():
        for batch in DataLoader(reviews, BATCH, num_workers=threads - 1):
            scores.append(model(batch).sigmoid())
    pq.write_table(pa.table({"id": table["id"], "score": torch.cat(scores).numpy()}), target)
    print(json.dumps({"seconds": perf_counter() - started}))


if __name__ == "__main__":
    folder, reviews, scores = map(Path, sys.argv[1:4])
    main(folder, reviews, scores, int(sys.argv[4]), int(sys.argv[5]))

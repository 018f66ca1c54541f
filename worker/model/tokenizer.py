"""Captions as text: a tokenizer in the Hugging Face ``tokenizers`` JSON format, whose ids the network writes.

A file or a word list comes in, text goes out; it knows nothing of the network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from worker.errors import TokenizerError

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")
END_TOKENS = ("<eos>", "</s>", "[EOS]", "[SEP]", "<|endoftext|>", "<|end_of_text|>")
"""How tokenizers call the token that ends a text."""
WORDS_FILE = Path(__file__).with_name("words.txt")


class CaptionTokenizer:
    """Decodes token ids to captions.

    Args:
        path: a ``tokenizer.json``.

    Raises:
        TokenizerError: if the file is missing or is not a tokenizer; the message says what to do.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise TokenizerError(
                f"{self.path.absolute()}: cannot be read ({error.strerror}): put your tokenizer.json there, "
                "or get the demo's back with: git checkout checkpoints"
            ) from error
        try:
            self._tokenizer = Tokenizer.from_buffer(data)
        except Exception as error:  # the library raises bare Exception
            raise TokenizerError(
                f"{self.path}: not a tokenizer in Hugging Face JSON format ({error}): replace it with the "
                "tokenizer.json that belongs to the checkpoint"
            ) from error
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._ends = {self._tokenizer.token_to_id(token) for token in END_TOKENS} - {None}

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of the ids without special tokens, up to the first end token that is not the first token.

        The first one may be the same token, where a tokenizer has one for the beginning and the end.
        """
        end = next((place for place, token in enumerate(ids) if place and token in self._ends), len(ids))
        return str(self._tokenizer.decode(list(ids[:end]), skip_special_tokens=True)).strip()


def build_tokenizer() -> Tokenizer:
    """Return the demo tokenizer: one token a word, from ``words.txt``, behind the four special tokens."""
    lines = WORDS_FILE.read_text(encoding="utf-8").splitlines()
    words = [word for line in lines if not line.startswith("#") for word in line.split()]
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106  # a token of text, not a password
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer

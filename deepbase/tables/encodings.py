"""Encodings of the texts that were scanned lately, by content.

A person asks one dataset many things, and tokenizing is most of what a scan does beside the forward. So the encodings
of the last texts are kept, for as many bytes as `MOST_BYTES`: the oldest go first, block by block. A key is the
fingerprint of the model and its tokenizer, and the text itself, so that nothing has to be told of a change.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from deepbase.blocks import Bools, Encodings, Ints
from deepbase.inputs.tokenization import encode

MOST_BYTES = 2**24
EACH = 400
"""Bytes that an encoding takes beside its arrays and its text."""

Key = tuple[str, str]
Encoding = tuple[Ints, Ints, Bools]


class Remembered:
    """Encodings that need not be made again; several threads may ask at once.

    Args:
        most: how many bytes they may take; `MOST_BYTES` where it is not said.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = MOST_BYTES if most is None else most
        self._known: dict[Key, Encoding] = {}
        self._blocks: deque[tuple[list[Key], int]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def encode(self, fingerprint: str, tokenize: Any, texts: Sequence[str]) -> Encodings:
        """The encodings of some texts.

        Args:
            fingerprint: of the model and its tokenizer.
            tokenize: the tokenizer.
            texts: the texts.
        """
        with self._lock:
            found = [self._known.get((fingerprint, text)) for text in texts]
        missing = [i for i, encoding in enumerate(found) if encoding is None]
        if missing:
            made = encode(tokenize, [texts[i] for i in missing])
            new = list(zip(made.ids, made.spans, made.special, strict=True))
            for i, encoding in zip(missing, new, strict=True):
                found[i] = encoding
            self._remember([(fingerprint, texts[i]) for i in missing], new)
        known = [encoding for encoding in found if encoding is not None]
        return Encodings([x[0] for x in known], [x[1] for x in known], [x[2] for x in known])

    def _remember(self, keys: list[Key], new: list[Encoding]) -> None:
        size = sum(sum(array.nbytes for array in e) + 4 * len(k[1]) + EACH for k, e in zip(keys, new, strict=True))
        if size > self._most:
            return
        with self._lock:
            while self._blocks and self._bytes + size > self._most:
                old, less = self._blocks.popleft()
                self._bytes -= less
                for key in old:
                    self._known.pop(key, None)
            self._known.update(zip(keys, new, strict=True))
            self._blocks.append((keys, size))
            self._bytes += size

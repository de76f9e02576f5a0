"""Words in the texts of packs: where they stand, and other texts in the place of these."""

from collections.abc import Mapping, Sequence

import msgspec

from meterline_sidecar.store.packs import NAMES, TEXTS, Pack, opened, pack


def search_pack(
    body: bytes, first: int, last: int, names: str, words: str, subject_id: int
) -> str:
    """Return the ids of events that hold a word, or are of a subject, as a JSON array.

    Args:
        first, last: of which ids, both included; as these, counted from the pack's first.
        names: the columns of texts in which words are looked for, with commas between.
        words: a JSON array of them; they are found to the letter.
        subject_id: -1: none.

    Raises:
        BadPack: it is none.
    """
    read = opened(body)
    part = read.between(first, last)
    ids = read["id"][part]
    found = {
        event_id
        for event_id, of in zip(ids, read["subject_id"][part], strict=True)
        if of == subject_id
    }
    wanted = msgspec.json.decode(words, type=list[str])
    for name in names.split(",") if read.has_texts else ():
        texts = read.texts(name)[part]
        hits = {text for text in set(texts) if text and _holds(text, wanted)}
        if hits:
            found.update(i for i, text in zip(ids, texts, strict=True) if text in hits)
    return msgspec.json.encode(sorted(found)).decode()


def _holds(text: str, words: Sequence[str]) -> bool:
    return any(word in text for word in words)


def with_texts(body: bytes, name: str, texts: Mapping[int, str | None]) -> bytes:
    """Return a pack with other texts in a column, by ids counted from the pack's first.

    Raises:
        BadPack: it is none.
    """
    read = Pack(body)
    columns = {text: read.texts(text) for text in TEXTS}
    columns[name] = [
        texts.get(event_id, text)
        for event_id, text in zip(read["id"], columns[name], strict=True)
    ]
    return pack([read[number] for number in NAMES], list(columns.values()))

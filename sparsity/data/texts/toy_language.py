"""A toy language and a toy shop, which a tiny network learns to translate and to answer in seconds: for smoke runs.

Both are drawn from the raw stream of numpy's PCG64, so that they are the same on every platform. The translation needs
what a real one needs: words that agree in gender, and a verb that moves to the end. The dialogues are in Taskmaster-1's
schema, and the last answer of each needs the whole context.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sparsity.data.texts.dialogues import Dialogue

NUM_SENTENCES = {"train": 5_000, "newstest2013": 200, "newstest2014": 200}
NUM_DIALOGUES = {"train": 1_000, "dev": 60, "test": 60}
_SENTENCE_SEED, _DIALOGUE_SEED = 2013, 1909

_NOUNS = {
    "dog": "Hund m",
    "cat": "Katze f",
    "horse": "Pferd n",
    "man": "Mann m",
    "woman": "Frau f",
    "child": "Kind n",
    "apple": "Apfel m",
    "flower": "Blume f",
    "book": "Buch n",
    "tree": "Baum m",
    "door": "Tür f",
    "house": "Haus n",
}
_ARTICLES = {"the": {"m": "der", "f": "die", "n": "das"}, "a": {"m": "ein", "f": "eine", "n": "ein"}}
_ADJECTIVES = {"old": "alt", "small": "klein", "big": "groß", "red": "rot", "green": "grün", "good": "gut"}
_VERBS = {"sees": "sieht", "likes": "mag", "finds": "findet", "draws": "malt", "buys": "kauft", "knows": "kennt"}
_ADVERBS = {"today": "heute", "here": "hier", "often": "oft", "": ""}
_DRINKS = ("tea", "coffee", "cocoa", "juice", "milk", "water")
_SIZES = ("small", "large")


@dataclass
class _Draw:
    """Choices from a raw stream; the bias of the remainder is below 2^-60."""

    stream: np.random.PCG64

    def one_of(self, words: tuple[str, ...] | dict[str, str]) -> str:
        return tuple(words)[int(self.stream.random_raw()) % len(words)]


def sentences() -> Iterator[tuple[str, str]]:
    """Distinct English-German pairs without end, always the same."""
    draw, seen = _Draw(np.random.PCG64(_SENTENCE_SEED)), set()
    while True:
        pair = _sentence(draw)
        if pair not in seen:
            seen.add(pair)
            yield pair


def dialogues() -> Iterator[Dialogue]:
    """Orders of two drinks without end, always the same; every seventh ends with a user who gets no answer."""
    draw, number = _Draw(np.random.PCG64(_DIALOGUE_SEED)), 0
    while True:
        number += 1
        yield _dialogue(draw) + ([("USER", "thank you .")] if number % 7 == 0 else [])


def _sentence(draw: _Draw) -> tuple[str, str]:
    subject, subject_de = _noun_phrase(draw)
    verb, (goal, goal_de), adverb = draw.one_of(_VERBS), _noun_phrase(draw), draw.one_of(_ADVERBS)
    english = f"{subject} {verb} {goal} {adverb}".strip()
    german = " ".join(f"{subject_de} {_ADVERBS[adverb]} {goal_de} {_VERBS[verb]}".split())
    return f"{english}.", f"{german}."


def _noun_phrase(draw: _Draw) -> tuple[str, str]:
    article, adjective, noun = draw.one_of(tuple(_ARTICLES)), draw.one_of(_ADJECTIVES), draw.one_of(_NOUNS)
    noun_de, gender = _NOUNS[noun].split()
    return f"{article} {adjective} {noun}", f"{_ARTICLES[article][gender]} {_ADJECTIVES[adjective]}e {noun_de}"


def _dialogue(draw: _Draw) -> Dialogue:
    first, second = (f"{draw.one_of(_SIZES)} {draw.one_of(_DRINKS)}" for _ in range(2))
    return [
        ("USER", f"hello , I would like a {first} please ."),
        ("ASSISTANT", f"sure , one {first} . anything else ?"),
        ("USER", f"yes , and a {second} ."),
        ("ASSISTANT", f"of course , one {second} . is that all ?"),
        ("USER", "yes , that is all ."),
        ("ASSISTANT", f"your {first} and your {second} are ready ."),
    ]

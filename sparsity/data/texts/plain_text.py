"""Released text turned back into what a reader would write, references and hypotheses alike, before scoring."""

import html
import re

_COMPOUND = re.compile(r" ?##AT##-##AT## ?")
_NO_SPACE_BEFORE = re.compile(r" ([,.;:!?%)\]}»”…]+)(?= |$)")
_NO_SPACE_AFTER = re.compile(r"(?:(?<= )|^)([(\[{«„¿¡$€£]) ")
_CLITIC = re.compile(r" ('(?:s|re|ve|d|m|ll|t)?)(?= |$)", re.IGNORECASE)
_NEGATION = re.compile(r"(?<=\w) (n't)\b", re.IGNORECASE)
_QUOTED = re.compile(r'" [^"]* "|„[^„“]* “|“ [^“”]*”')  # “ closes in German and opens in English


def unchanged(text: str) -> str:
    """Text that was released as it is written, without spaces at its ends."""
    return text.strip()


def detokenised(text: str) -> str:
    """Text of Stanford's WMT14 release, which Moses tokenised, as it is written.

    `rich ##AT##-##AT## text` becomes `rich-text`, entities (`&quot;`, `&apos;`, `&#91;`) become characters, and
    punctuation joins the word it belongs to. Quotes are taken in pairs.
    """
    text = html.unescape(_COMPOUND.sub("-", text)).strip()
    for no_space in (_CLITIC, _NEGATION, _NO_SPACE_BEFORE, _NO_SPACE_AFTER):
        text = no_space.sub(r"\1", text)
    return _QUOTED.sub(lambda quoted: quoted[0][0] + quoted[0][1:-1].strip() + quoted[0][-1], text)

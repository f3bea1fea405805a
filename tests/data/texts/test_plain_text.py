"""Stanford's tokenised text is turned back into what a reader would write."""

import pytest

from sparsity.data.texts.plain_text import detokenised


@pytest.mark.parametrize(
    ("released", "written"),
    [
        ("a rich ##AT##-##AT## text format .", "a rich-text format."),
        ("in Aix ##AT##-##AT## en ##AT##-##AT## Provence", "in Aix-en-Provence"),
        ("he said &quot; no &quot; .", 'he said "no".'),
        ("&quot; ( ja ! ) &quot; und &quot; no &quot;", '"(ja!)" und "no"'),
        ("„ gut “ sagte er , „ ja ! “ und : „ so", "„gut“ sagte er, „ja!“ und: „so"),
        ("“ no ” and “ yes ? ” ( „ ja “ )", "“no” and “yes?” („ja“)"),
        ("it &apos;s the dog &apos;s .", "it's the dog's."),
        ("don &apos;t , he did n&apos;t", "don't, he didn't"),
        ("( as &#91; sic &#93; ) , really ?", "(as [sic]), really?"),
        ("he &apos;ll , they &apos;re , I &apos;m , we &apos;ve , she &apos;d", "he'll, they're, I'm, we've, she'd"),
        ("{ $ 5 } … « oui » ¿ si ” ?", "{$5}… «oui» ¿si”?"),
        ("5 % of &amp; all", "5% of & all"),
        ("ein Satz : so ; oder so !", "ein Satz: so; oder so!"),
        ("a - b", "a - b"),
    ],
)
def test_released_text_is_written_plainly(released: str, written: str) -> None:
    assert detokenised(released) == written

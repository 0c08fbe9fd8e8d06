#!/usr/bin/env python3
"""Writes src/text/unicode_tables.inc: what the PyPI package `tokenizers` takes characters for.

The package's parts follow different versions of Unicode, so nothing here comes from a standard's file: every table is
read off the package, by giving each code point to the part that uses it. Which version of the package: the first line
of the output. Numbers are LEB128; a table of ranges is a list of (gap after the last range, length - 1[, value]).
"""

import functools
import itertools
import pathlib
import struct

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

TARGET = pathlib.Path(__file__).resolve().parent.parent / "src/text/unicode_tables.inc"
ALL = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
TEXT = "".join(ALL)

CATEGORIES = ("Cn Co Lo Lu Ll Lt Lm Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs").split()
SCRIPTS = """Han Hangul Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali
Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham
Cherokee Chorasmian Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra
Duployan Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Garay Georgian Glagolitic Gothic Grantha Greek Gujarati
Gunjala_Gondi Gurmukhi Gurung_Khema Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited
Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi
Khitan_Small_Script Khmer Khojki Khudawadi Kirat_Rai Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian
Lydian Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek
Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean
Nag_Mundari Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Ol_Onal Old_Hungarian
Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya
Osage Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan
Saurashtra Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Sunuwar
Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai
Tibetan Tifinagh Tirhuta Todhri Toto Tulu_Tigalari Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi
Zanabazar_Square""".split()
PROPERTIES = ["Alphabetic", "Lowercase", "Uppercase", "Ideographic", "Emoji"]

# ---- encoding --------------------------------------------------------------------------------------------------------


def leb128(number):
    out = []
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return out + [number]


def encode_ranges(values):
    """`values`: code point -> value; True stands for no value at all."""
    out, end = [], 0
    points = sorted(values)
    for value, group in itertools.groupby(enumerate(points), lambda pair: (values[pair[1]], pair[1] - pair[0])):
        group = [point for _, point in group]
        out += leb128(group[0] - end) + leb128(len(group) - 1)
        if value[0] is not True:
            out += leb128(value[0])
        end = group[-1] + 1
    return out


def encode_lists(lists):
    return [byte for one in lists for number in [len(one), *map(ord, one)] for byte in leb128(number)]


def encode_set(characters):
    return encode_ranges({ord(c): True for c in characters})


def c_array(name, numbers):
    lines, line = [], " "
    for number in numbers:
        cell = f" {number},"
        if len(line) + len(cell) > 119:
            lines.append(line)
            line = " "
        line += cell
    return f"constexpr uint8_t {name}[] = {{\n" + "\n".join(lines + [line]) + "\n};\n"


# ---- the regular expressions (Oniguruma) -----------------------------------------------------------------------------


def matching(pattern, text=TEXT):
    split = pre_tokenizers.Split(Regex(f"(?:{pattern})+"), "removed", invert=True)
    return set("".join(piece for piece, _ in split.pre_tokenize_str(text)))


def partition(names, text):
    """Members of classes that have none in common: those of the first are not asked for again."""
    for name in names:
        members = matching(f"\\p{{{name}}}", text)
        yield name, members
        text = "".join(c for c in text if c not in members)


def check_derived(category, sets):
    """What the translator builds from others instead of looking it up."""
    of = lambda *names: {c for c in ALL if category[c].startswith(names)}
    assert matching(r"\w") == of("M", "Nd", "Pc", "Nl") | sets["Alphabetic"] | set("²³¹¼½¾")
    assert matching(r"[\w]") == matching(r"\w") - set("²³¹¼½¾")
    assert matching(r"\d") == of("Nd")
    assert matching(r"\s") == of("Z") | set("\t\n\v\f\r\x85")
    assert matching(r"\h") == set("0123456789abcdefABCDEF")
    assert matching("[[:punct:]]") == of("P", "S")
    assert matching("[[:cntrl:]]") == of("Cc")
    assert matching("[[:blank:]]") == of("Zs") | {"\t"}
    graph = set(ALL) - matching(r"\s") - of("Cc", "Cn", "Cs")
    assert matching("[[:graph:]]") == graph
    assert matching("[[:print:]]") == graph | of("Zs")
    assert matching("[[:alnum:]]") == sets["Alphabetic"] | of("Nd")
    assert matching("[[:xdigit:]]") == matching(r"\h")
    assert matching("[[:alpha:]]") == sets["Alphabetic"]
    assert matching("[[:lower:]]") == sets["Lowercase"]
    assert matching("[[:upper:]]") == sets["Uppercase"]
    assert matching(r"\p{L}") == of("L") and matching(r"\p{C}") == of("C")


def fold_groups(letters):
    """Characters that (?i:...) takes for the same; texts that it takes for one other character; and those others."""
    cased = sorted(letters | {c for c in ALL if len({c, c.lower(), c.upper(), c.casefold(), c.title()}) > 1})
    apart = "|".join(cased)  # so that no text of several characters is matched
    groups = {frozenset(matching(f"(?i:\\x{{{ord(c):X}}})", apart)) for c in cased}
    groups = sorted(sorted(group) for group in groups if len(group) > 1)
    assert len({c for group in groups for c in group}) == sum(map(len, groups)), "folding is no equivalence"
    many = [c for c in cased if len(c.casefold()) > 1]
    return groups, sorted({c.casefold() for c in many}), many


# ---- single characters -----------------------------------------------------------------------------------------------


def mapped(normalizer, around="{}", separator="|"):
    """What the normalizer makes of each character, all in one call."""
    points = [c for c in ALL if c != separator]
    text = normalizer.normalize_str(separator.join(around.format(c) for c in points))
    result = dict(zip(points, text.split(separator), strict=True))
    result[separator] = normalizer.normalize_str(around.format(separator))
    return result


def cut_off(pre_tokenizer):
    """Characters, none of them white space, that do not stay in one piece with a letter before them."""
    both = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizer])
    pieces = {piece for piece, _ in both.pre_tokenize_str(" ".join("a" + c for c in ALL))}
    return {c for c in ALL if "a" + c not in pieces} - spaces()


@functools.cache
def spaces():
    pieces = {piece for piece, _ in pre_tokenizers.WhitespaceSplit().pre_tokenize_str(" ".join("a" + c for c in ALL))}
    return {c for c in ALL if "a" + c not in pieces}


def same_scripts():
    """What UnicodeScripts tells apart: code point -> number; characters that go with every script are left out."""
    cut = pre_tokenizers.UnicodeScripts()
    joined = lambda *texts: len(cut.pre_tokenize_str("".join(texts))) == 1
    numbers, known = {}, []
    for start in range(0, len(ALL), 256):
        chunk = ALL[start:start + 256]
        if joined("a", *chunk) and joined("\u0436", *chunk):
            continue
        for c in chunk:
            if joined("a", c) and joined("\u0436", c):
                continue
            number = numbers.get(ord(c) - 1)
            if number is None or not joined(known[number - 1], c):
                number = next((i + 1 for i, one in enumerate(known) if joined(one, c)), len(known) + 1)
                if number > len(known):
                    known.append(c)
            numbers[ord(c)] = number
    return numbers


# ---- normal forms ----------------------------------------------------------------------------------------------------


def is_hangul(c):
    return 0xAC00 <= ord(c) <= 0xD7A3


def combining_classes():
    """Only their order counts, so they are numbered from 1 on."""
    form = normalizers.NFD()
    swaps = lambda a, b: form.normalize_str("x" + a + b) == "x" + b + a
    alone, low, high = (mapped(form, around) for around in ("{}", "x{}\u0334", "x\u0345{}"))
    marks = [c for c in ALL if alone[c] == c and
             (low[c] == "x\u0334" + c != "x" + c + "\u0334" or high[c] == "x" + c + "\u0345" != "x\u0345" + c)]
    classes = []  # lists of equal marks, in order
    for mark in marks:
        first, last = 0, len(classes)
        while first < last:
            middle = (first + last) // 2
            if swaps(mark, classes[middle][0]):
                first = middle + 1
            else:
                last = middle
        if first < len(classes) and not swaps(classes[first][0], mark):
            classes[first].append(mark)
        else:
            classes.insert(first, [mark])
    return {ord(mark): i + 1 for i, equal in enumerate(classes) for mark in equal}


def decompositions():
    """Per character: its distance to the one before, the lengths of its two decompositions, and their characters; a
    length of 0 for the second stands for the same as the first. And the triples (composed, first, second)."""
    canonical, full = (mapped(form(), separator="\x01") for form in (normalizers.NFD, normalizers.NFKD))
    compose = normalizers.NFC().normalize_str
    out, last, triples = [], 0, []
    for c in ALL:
        if (canonical[c] == c and full[c] == c) or is_hangul(c):
            continue
        one = "" if canonical[c] == c else canonical[c]
        two = "" if full[c] == one else full[c]
        out += leb128(ord(c) - last) + leb128(len(one)) + leb128(len(two))
        out += [byte for part in one + two for byte in leb128(ord(part))]
        last = ord(c)
        if len(one) > 1 and compose(one) == c:
            first = compose(one[:-1])
            assert len(first) == 1 and compose(first + one[-1]) == c, hex(ord(c))
            triples.append((c, first, one[-1]))
    return out, [byte for triple in triples for part in triple for byte in leb128(ord(part))]


# ---- grapheme clusters -----------------------------------------------------------------------------------------------

# Charsmaps in which every character, or every one that is not ASCII, becomes "X": a trie whose nodes for lead and
# continuation bytes are shared. Precompiled looks up whole clusters of under six bytes and other clusters' characters
# one by one, so what it leaves shows where clusters end.


def x_charsmap(ascii_too):
    units = [0] * 2048
    root, two, three, four, value = 256, 512, 768, 1024, 1536

    def edges(base, first, last, target):
        for byte in range(first, last + 1):
            units[base ^ byte] = byte | (target == value) << 8 | (base ^ byte ^ target) << 10

    units[0] = root << 10
    if ascii_too:
        edges(root, 0x01, 0x7F, value)
    edges(root, 0xC2, 0xDF, two)
    edges(root, 0xE0, 0xEF, three)
    edges(root, 0xF0, 0xF4, four)
    edges(four, 0x80, 0xBF, three)
    edges(three, 0x80, 0xBF, two)
    edges(two, 0x80, 0xBF, value)
    units[value] = 0x80000000
    return struct.pack(f"<I{len(units)}I", len(units) * 4, *units) + b"X\0"


def grapheme_classes():
    """Code point -> sum of the flags in GraphemeFlag. ASCII, Hangul and pairs of flags are not asked for."""
    ascii_left, all_mapped = (normalizers.Precompiled(x_charsmap(ascii_too)) for ascii_too in (False, True))
    see = lambda around: mapped(ascii_left, around, "\n")
    before = dict(zip(ALL, (all_mapped.normalize_str("a" + c) == "X" for c in ALL)))
    after, control = see("{}a"), see("{}\u0301\u0301")
    pictograph = see("\u00a9\u200d{}")
    consonant, linker = see("{}\u094d\u0915\u0301"), see("\u0915{}\u0915\u0301")
    skipped = see("\u0915\u094d{}\u0915\u0301")
    flags = {}
    for c in ALL[0x80:]:
        found = [before[c], after[c] == "X", control[c] == "XX",
                 pictograph[c] == "XXX" and not before[c], consonant[c] == "XXXX" and not before[c],
                 linker[c] == "XXXX" and before[c], skipped[c] == "XXXXX" and before[c]]
        flags[ord(c)] = sum(1 << i for i, flag in enumerate(found) if flag)
    return {c: flag for c, flag in flags.items() if flag}


# ---- the file --------------------------------------------------------------------------------------------------------


def small_letters():
    """Per run: gap, length - 1, distance to the small letter (zigzag); the one letter with two is left to the code."""
    lower = mapped(normalizers.Lowercase())
    assert [c for c in ALL if len(lower[c]) != 1] == ["\u0130"] and lower["\u0130"] == "i\u0307"
    deltas = {ord(c): ord(lower[c]) - ord(c) for c in ALL if len(lower[c]) == 1 and lower[c] != c}
    return encode_ranges({c: 2 * d if d > 0 else -2 * d - 1 for c, d in deltas.items()})


def tables():
    names = [name for name in CATEGORIES if name != "Cs"]
    category = {c: name for name, members in partition(names, TEXT) for c in members}
    assert len(category) == len(ALL)
    assigned = "".join(c for c in ALL if category[c] not in ("Cn", "Co"))  # the others have no script or property
    sets = {name: matching(f"\\p{{{name}}}", assigned) for name in PROPERTIES}
    sets.update(partition(SCRIPTS, assigned))
    check_derived(category, sets)
    numbers = {ord(c): CATEGORIES.index(name) + 1 for c, name in category.items() if name != "Cn"}
    yield c_array("kCategories", encode_ranges(numbers))
    names = ", ".join(f'"{name}"' for name in CATEGORIES)
    yield f"constexpr const char* kCategoryNames[] = {{{names}}};\n"
    encoded = {name.replace("_", "").lower(): encode_set(one) for name, one in sets.items()}
    yield c_array("kNamedSets", [byte for one in encoded.values() for byte in one])
    ends = list(itertools.accumulate(len(one) for one in encoded.values()))
    lines = [f'    {{"{name}", {end - len(encoded[name])}, {end}}},' for name, end in zip(encoded, ends)]
    yield "constexpr NamedSet kSetNames[] = {\n" + "\n".join(lines) + "\n};\n"
    groups, texts, many = fold_groups(sets["Lowercase"] | sets["Uppercase"])
    yield c_array("kFoldGroups", encode_lists(groups))
    yield c_array("kFoldTexts", encode_lists(texts))
    yield c_array("kFoldsToMany", encode_set(many))
    yield c_array("kSpaces", encode_set(spaces()))
    yield c_array("kNumeric", encode_set(cut_off(pre_tokenizers.Digits())))
    yield c_array("kPunctuation", encode_set(cut_off(pre_tokenizers.Punctuation())))
    yield c_array("kRustWords", encode_set(set(ALL) - spaces() - cut_off(pre_tokenizers.Whitespace())))
    yield c_array("kMarks", encode_set(c for c, to in mapped(normalizers.StripAccents(), "a{}").items() if to == "a"))
    bert = dict.fromkeys(["clean_text", "handle_chinese_chars", "strip_accents", "lowercase"], False)
    clean = mapped(normalizers.BertNormalizer(**{**bert, "clean_text": True}), "a{}")
    dropped = {c for c in ALL if clean[c] == "a"}
    assert {c for c in ALL if clean[c] == "a "} == spaces() - dropped
    yield c_array("kBertDropped", encode_set(dropped))
    chinese = mapped(normalizers.BertNormalizer(**{**bert, "handle_chinese_chars": True}))
    yield c_array("kBertChinese", encode_set(c for c in ALL if chinese[c] == f" {c} "))
    accents = mapped(normalizers.BertNormalizer(**{**bert, "strip_accents": True}), "a{}")
    yield c_array("kBertAccents", encode_set(c for c in ALL if accents[c] == "a"))
    yield c_array("kScripts", encode_ranges(same_scripts()))
    yield c_array("kSmallLetters", small_letters())
    yield c_array("kCombiningClasses", encode_ranges(combining_classes()))
    decomposed, composed = decompositions()
    yield c_array("kDecompositions", decomposed)
    yield c_array("kCompositions", composed)
    yield c_array("kGraphemes", encode_ranges(grapheme_classes()))


def main():
    head = f"// Generated by tools/make_unicode_tables.py from tokenizers {tokenizers.__version__}. Do not edit.\n"
    TARGET.write_text(head + "".join(tables()))
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes tests/goldens/text: what the PyPI package `tokenizers` says about our own texts.

  components.json  normalizers, pre-tokenizers and decoders, one by one
  small.json       whole tokenizers, small enough to be written here
  unicode.json     checksums of what components make of every character
  texts.json       the texts for real tokenizers
  <name>.json      ids of the texts for a real tokenizer, which itself is not in the repository

And tests/fuzz/tokenizer_fuzz: small tokenizers with a text each, where tokenizer_fuzz starts from.

usage: make_text_golden.py SHARED_FOLDER     (the one with data/tokenizers)
"""

import base64
import json
import pathlib
import random
import sys
import zlib

import tokenizers
from tokenizers import Tokenizer

from make_unicode_tables import x_charsmap

MADE_WITH = f"tokenizers {tokenizers.__version__}"
TESTS = pathlib.Path(__file__).resolve().parent.parent / "tests"
OUT = TESTS / "goldens" / "text"
REAL = [
    "tokenizers/gpt2", "tokenizers/llama-3.2", "tokenizers/qwen3", "tokenizers/smollm2", "tokenizers/phi-3-mini",
    "tokenizers/t5-small", "tokenizers/bert-base-uncased", "models/tinystories-656k",
]

# ---- texts ----------------------------------------------------------------------------------------------------------

SENTENCES = [
    "", " ", "  ", "   ", "\n", "\n\n", "\t", "\t\t", "\r\n", "\r", " \n", "\n ", " \n ", "  \n  \n  ", "a", "A", " a",
    "a ", " a ",
    "Once upon a time there was a small dog.", "The quick brown fox jumps over the lazy dog!", "hello world",
    "Hello, world",
    " Hello,  world ", "Hello\nworld", "Hello\n\nworld", "Hello \n world", "Hello\tworld", "trailing spaces   ",
    "   leading spaces",
    "two  spaces", "three   spaces", "many                                spaces", "tabs\t\tand\t \tspaces",
    "line\r\nbreaks\r\n\r\nof Windows",
    "I'm, you're, he's, we've, they'll, I'd, don't", "I'M, YOU'RE, HE'S, WE'VE, THEY'LL, I'D, DON'T",
    "'s't're've'm'll'd",
    "'S'T'RE'VE'M'LL'D", "rock'n'roll 'twas o'clock", "it\u2019s a typographer\u2019s \u201cquote\u201d",
    "'\u017ft and \u212aelvin",
    "0", "1", "12", "123", "1234", "12345", "1234567890", "3.14159", "1,234,567.89", "-42", "1e-10", "0x7fffffff",
    "10%", "$5.00", "\u20ac7,50",
    "2024-02-29T23:59:60Z", "192.168.0.1:8080", "v1.2.3-rc4", "a1b2c3", "x86_64", "1st 2nd 3rd",
    "\u00bd \u00b2 \u2163 \u0664\u0662 \u0967\u0968\u0969 \u4e09\u5341",
    "...", "!!!", "???", "?!?!", "---", "===", "***", "#", "##", "# Title", "- item", "> quote", "`code`",
    "[link](http://example.org/a?b=c&d=e#f)",
    "user.name+tag@example.co.uk", "C:\\Users\\name\\file.txt", "/usr/local/bin/arc",
    "~!@#$%^&*()_+-={}[]|\\:\";'<>?,./",
    "def add(a, b):\n    return a + b\n", "for (int i = 0; i < n; ++i) {\n\tsum += x[i];\n}\n",
    "if x:\n        y = 1\n    else:\n  z",
    "{\"key\": [1, 2.5, null, true], \"nested\": {\"a\": \"b\"}}", "<div class=\"a\">text &amp; more</div>",
    "SELECT * FROM t WHERE id = 7;",
    "import os\nimport sys\n\n\nclass A:\n    pass\n", "std::vector<std::pair<int, int>> v;",
    "a_b_c__d camelCase PascalCase SCREAMING_CASE",
    "\\alpha + \\frac{1}{2} = $x^2$", "|a|b|\n|-|-|\n|1|2|", "printf(\"%5.2f\\n\", x);", "#include <stdio.h>",
    "a=>b->c::d..e...f", "&&||!~",
    "na\u00efve caf\u00e9 r\u00e9sum\u00e9", "nai\u0308ve cafe\u0301 re\u0301sume\u0301",
    "\u00c5ngstr\u00f6m A\u030angstro\u0308m \u212b", "Stra\u00dfe STRASSE",
    "\u0130stanbul \u0131\u015f\u0131k", "\u039f\u03b4\u03c5\u03c3\u03c3\u03b5\u03cd\u03c2",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!", "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "\u05e9\u05bc\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
    "\u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", "\u09ac\u09be\u0982\u09b2\u09be",
    "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01",
    "\u0e01\u0e33\u0e44\u0e23", "\u1019\u103c\u1014\u103a\u1019\u102c", "\u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8",
    "\u1200\u1208\u1218", "\u1780\u17b6\u1793\u17cb",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01", "\u7e41\u9ad4\u4e2d\u6587\u6e2c\u8a66",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8\u3067\u3059\u3002", "\u304c\u304b\u3099",
    "\uff76\uff9e \uff21\uff22\uff23",
    "\ud55c\uad6d\uc5b4 \uc2dc\ud5d8", "\u1112\u1161\u11ab\u1100\u116e\u11a8", "Ti\u1ebfng Vi\u1ec7t",
    "Tie\u0302\u0301ng Vie\u0323\u0302t", "mixed \u4e2d\u6587 and English\u6df7\u5408text",
    "\U00020000\U0002a6d6 rare", "\u2e80\u2f00", "\u1e9b\u0323 \ufb01ne \ufb03", "\u0344\u0340\u0341\u0343",
    "\u0958 \u0929 \u0b94", "\u2126 \u212a \u2329",
    "\U0001f600", "\U0001f600\U0001f601\U0001f602", "a\U0001f600b", "I \u2764\ufe0f you",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd \U0001f44b\U0001f3ff",
    "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "1\ufe0f\u20e3 #\ufe0f\u20e3",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "\u2603 \u2602 \u2708",
    "\U0001d4d0\U0001d4d1 \U0001d7d8\U0001d7d9", "\u2200x\u2208\u211d: \u221ax\u00b2=|x|",
    "\u2192 \u21d2 \u2194 \u2260 \u2264", "\u2500\u2502\u250c\u2510", "\u25b2\u25bc\u25cf",
    "a\u0300", "a\u0300\u0301\u0302\u0303\u0304", "\u0300 alone", "x\u0301\u0327", "x\u0327\u0301",
    "Z\u0351\u036b\u0343\u036a", "\u200b", "zero\u200bwidth\u200cjoin\u200der",
    "\ufeffbom", "soft\u00adhyphen", "no\u00a0break", "thin\u2009space", "\u3000ideographic\u3000space",
    "en\u2002em\u2003", "line\u2028sep\u2029para", "next\u0085line",
    "mongol\u180evowel", "vt\x0bff\x0c", "nul\x00byte", "\x00\x01\x02\x1f\x7f", "esc\x1b[31mred\x1b[0m", "bell\x07",
    "\u0080\u009f", "\ufffd replaced \ufffd\ufffd",
    "\ufffe\uffff", "\ue000private", "\U0010ffff", "\U000f0000", "\ufdd0", "\u202eright to left\u202c",
    "\u2066isolate\u2069",
    "a" * 7, "a" * 64, "a" * 1000, "ab" * 300, "Lorem" * 60, " " * 33, " " * 257, "\n" * 40, "\t" * 17, "!" * 50,
    "=" * 81, "1" * 41, "\u00e9" * 30, "\u4e2d" * 30, "\U0001f600" * 12,
    "Donaudampfschifffahrtselektrizit\u00e4tenhauptbetriebswerkbauunterbeamtengesellschaft",
    "pneumonoultramicroscopicsilicovolcanoconiosis",
    "aAaAaAaA", "ABCdefGHI", "iPhone McDonald O'Neil", "USA UK EU", "e.g. i.e. etc.", "Dr. Smith vs. Mr. Jones",
    "yes/no", "and/or", "A-B-C", "well-known",
    "\u2581", "\u2581\u2581", "\u2581word", "word\u2581", "a\u2581b \u2581 c", "\u0120the", "\u010a", "\u0120",
    "<0x0A>", "<0x41><0x42>", "<0x0a>", "<unk>", "unk",
    "<s>", "</s>", "<s>text</s>", " <s> text </s> ", "a<s>b", "<s><s>", "<|endoftext|>", "text<|endoftext|>text",
    "a <|endoftext|> b", "<|endoftext|><|endoftext|>", "<|endoftext|",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|im_start|>system", "<|im_end|>",
    "<think>\nhm\n</think>\n\nyes", "<tool_call>\n{\"name\": \"f\"}\n</tool_call>",
    "<|begin_of_text|>", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    "<|reserved_special_token_0|>", "<|user|>\nHi<|end|>\n<|assistant|>\n",
    "<|user|>   spaces after", "</s>   spaces", "<|placeholder1|> x", "<|start_story|>Once", "Once<|end_story|>",
    " <|start_story|>", "<|<|im_end|>|>", "<|im_start|>"[:6], "[INST] hi [/INST]",
    "<repo_name>a/b<file_sep>c.py<jupyter_start>", "<|vision_start|><|image_pad|><|vision_end|>",
    "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>",
    "A story.\n\nIt had a beginning, a middle and an end.\n  \n\tThe end.\n",
    "   def f():\n      \n      return  0   \n\n\n", "x  =  1;   // comment   \n",
    "Wait... what?! No--really? (yes) [ok] {fine} \u2026 \u2014 \u2013",
    "100 km/h, 20 \u00b0C, 5\u00d73, \u00b11, 50\u2009%", "\u00a1Hola! \u00bfQu\u00e9 tal?",
    "\u201eGut\u201c \u00absalut\u00bb \u300c\u306f\u3044\u300d",
    "word\u0301word", "\u0915\u094d\u0937 \u0915\u094d\u200d\u0937", "\uff11\uff12\uff13\uff0e",
    "\u2460\u2461\u24b6\u24d0", "\u216f\u2180", "\u3007\u3021", "\u02b0\u02b1 \u1d2c", "\u01c4\u01c5\u01c6",
    "don\u2019t \u02bcn", "tr\u00e8s  bien\u00a0!", "end with newline\n", "end with spaces\n   ", "\n\n\n   \n\n\n",
    " \t \n \t ", "a\n \nb", "a \n\n b", "a\r\n\r\nb", "a\u3000\nb", "\u00a0\u00a0x", "x\u00a0\u00a0",
]

CUT_TEXTS = [text for text in SENTENCES if len(text) < 20]

# ---- single components ----------------------------------------------------------------------------------------------


def part(kind, **fields):
    return {"type": kind, **fields}


def replace(content, **pattern):
    return part("Replace", pattern=pattern, content=content)


def split(pattern, behavior, invert=False, kind="Regex"):
    return part("Split", pattern={kind: pattern}, behavior=behavior, invert=invert)


def metaspace(scheme, **fields):
    return part("Metaspace", replacement="\u2581", prepend_scheme=scheme, **fields)


def byte_level(prefix=True, regex=True):
    return part("ByteLevel", add_prefix_space=prefix, trim_offsets=True, use_regex=regex)


def strip(content, start, stop):
    return part("Strip", content=content, start=start, stop=stop)


FORMS = ("NFC", "NFD", "NFKC", "NFKD")
RUNS = replace("_", Regex=" {2,}")
MARKS = replace("\u2581", String=" ")
NORMALIZERS = [part(kind) for kind in FORMS + ("Lowercase", "ByteLevel", "StripAccents")] + [
    part("Strip", strip_left=left, strip_right=right) for left, right in ((True, True), (True, False), (False, True))
] + [
    part("Prepend", prepend="\u2581"), RUNS, MARKS, replace("<>", Regex="(?m:a.)|^b|o$"),
    part("Sequence", normalizers=[part("NFD"), part("StripAccents"), part("Lowercase"), RUNS]),
    part("Nmt"), part("Precompiled", precompiled_charsmap=base64.b64encode(x_charsmap(False)).decode()),
]
BERT = [
    part("BertNormalizer", clean_text=i == 0, handle_chinese_chars=i == 1, strip_accents=accents, lowercase=i == 3)
    for i, accents in enumerate((False, False, True, None, False))
]
NORMALIZERS += BERT

BOOLS = (False, True)
BEHAVIORS = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
SCHEMES = ("first", "always", "never")
UPPER, LOWER = "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}", "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
ENDING = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (
    f"[^\\r\\n\\p{{L}}\\p{{N}}]?[{UPPER}]*[{LOWER}]+{ENDING}|[^\\r\\n\\p{{L}}\\p{{N}}]?[{UPPER}]+[{LOWER}]*{ENDING}|"
    "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
)
PRE_TOKENIZERS = (
    [byte_level(prefix, regex) for prefix in BOOLS for regex in BOOLS]
    + [split("[ \\n]", behavior, invert) for behavior in BEHAVIORS for invert in BOOLS]
    + [split("a", behavior, kind="String") for behavior in BEHAVIORS]
    + [
        split(pattern, "Isolated")
        for pattern in (O200K, "\\h+", "\\W", "\\p{Han}+|[\\u3040-\\u309f]+", "[^\\S\\n]+", "(?<=[a-z])(?=[A-Z])", "x*",
                        "(?m:a.b)|^ ", "a{,2}b", "[a-z&&[^aeiou]]+", "[[:upper:]\\d]|[\\W&&\\S]", "(?i)don|\u03a3",
                        "\\bw|d\\b", "a{2}+|(?:b{1,2})?+", "(?>o|oo)w", "[\\p{Greek}\\p{Nl}]+", "\\x41|\\x{e9}|[\\t-\\r]",
                        "e$|\\Aa|d\\z", "[[:punct:]]+", "[^[:graph:]]", "\\p{Alphabetic}\\P{Lu}",
                        "\\p{Word}\\p{Punct}|\\b", "[^\\W\\d]+")
    ]
    + [split("\\w+|[^\\w\\s]+", "Removed", True), split("[\\s\\d]+", "MergedWithNext"), split("\\p{^L}+", "Removed")]
    + [part("Digits", individual_digits=individual) for individual in BOOLS]
    + [part(kind) for kind in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts")]
    + [part("FixedLength", length=length) for length in (1, 5)]
    + [part("CharDelimiterSplit", delimiter=delimiter) for delimiter in (" ", "\u00e9")]
    + [part("Punctuation", behavior=behavior) for behavior in BEHAVIORS]
    + [metaspace(scheme, split=cut) for scheme in SCHEMES for cut in BOOLS]
    + [part("Sequence", pretokenizers=[part("WhitespaceSplit"), metaspace(scheme)]) for scheme in SCHEMES]
    + [
        part("Sequence", pretokenizers=[part("Digits", individual_digits=True), byte_level()]),
        part("Sequence", pretokenizers=[split("\\s", "Removed"), part("Punctuation"), metaspace("first")]),
        part("Sequence", pretokenizers=[part("UnicodeScripts"), metaspace("first")]),
        part("Sequence", pretokenizers=[part("FixedLength", length=2), part("Digits", individual_digits=False),
                                        metaspace("first")]),
    ]
)

SPACES = replace(" ", String="\u2581")
FALLBACK = part("ByteFallback")
FUSE = part("Fuse")
DECODERS = [
    None, byte_level(), FALLBACK, FUSE, SPACES, metaspace("always"), metaspace("never"),
    strip(" ", 1, 0), strip("a", 2, 1),
    part("Sequence", decoders=[SPACES, FALLBACK, FUSE, strip(" ", 1, 0)]),
    part("Sequence", decoders=[SPACES, FALLBACK, FUSE, strip(" ", 2, 2)]),
    part("Sequence", decoders=[FALLBACK, metaspace("first")]),
    part("Sequence", decoders=[replace("#", Regex="[0-9]+"), FUSE]),
    part("WordPiece", prefix="##", cleanup=True), part("WordPiece", prefix="a", cleanup=False),
    part("BPEDecoder", suffix="</w>"), part("BPEDecoder", suffix="b"),
    part("CTC", pad_token="<pad>", word_delimiter_token="|", cleanup=True),
    part("CTC", pad_token="a", word_delimiter_token="b", cleanup=False),
    part("Sequence", decoders=[part("CTC", pad_token="<pad>", word_delimiter_token="|", cleanup=True), SPACES, FUSE]),
    part("Sequence", decoders=[part("WordPiece", prefix="##", cleanup=False), replace("_", Regex="^ ")]),
]
TOKEN_LISTS = [
    [], ["\u2581Hello", "\u2581world", "!"], ["Hello", "world"], ["\u0120Hello", "\u0120w\u00c3\u00a9", "\u010a"],
    ["\u00f0\u0141\u013a", "\u0122"], ["\u00f0\u0141\u013a", "a"], ["\u00f0\u0141", "\u00f0\u0141"],
    ["\u00e2\u0124", "\u00ac", "\u0122", "\u00e2"], ["\u00ff\u00fe"], ["<|im_end|>", "two words", "\u0120x"],
    ["<0xE2>", "<0x82>", "<0xAC>"], ["a", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "b"],
    ["<0xF0>", "<0x9F>", "b"], ["x", "<0x0A>", "\u2581", "\u2581", "y"], ["\u2581\u2581a", "a\u2581b", "\u2581"],
    ["<0x41>", "<0xg1>", "<0x4>", "<0x0a>"], [" ", " ", "a", " ", " ", " "], ["aaab", "aaa", "aba"],
    ["un", "##aff", "##able", "do", "not", ",", "it", "'", "s", "n't", "##.", "a", "!"], ["##a", "##b"],
    ["a", "a", "##a"],
    ["lo", "w</w>", "er</w>"], ["</w>", "a</w>b</w>"], ["x</w>"], ["ab", "b", "bb"],
    ["<pad>", "h", "h", "<pad>", "h", "|", "|", "<pad>", "|", "o .", "o .", " 's"], ["", "a", ""], ["|"],
    ["\u2581", "\u2581a"], ["1", "22", "a3b44"], ["<0x20>", "<0x20>", "x", "<0x20>"],
]

# ---- small tokenizers -----------------------------------------------------------------------------------------------

CHARS = ["a", "b", "c", "d", "\u2581", "x", "y", "1", " "]


def bpe(merges, extra=(), **options):
    texts = [options.get("unk_token") or "<unk>"] + CHARS + list(extra)
    prefix = options.get("continuing_subword_prefix") or ""
    if prefix:
        texts += [prefix + c for c in CHARS]
    if options.get("end_of_word_suffix"):
        texts += [c + options["end_of_word_suffix"] for c in texts[1:]]
    for left, right in merges:
        text = left + right[len(prefix):]
        for needed in (left, right, text):
            if needed not in texts:
                texts.append(needed)
    vocab = {text: i for i, text in enumerate(texts)}
    return part("BPE", vocab=vocab, merges=[list(pair) for pair in merges], **options)


def added(content, **flags):
    off = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"content": content, **off, **flags}


def small(model, added_tokens=(), **sections):
    """A tokenizer.json. Added tokens that the model lacks get the ids after its own, as the package does."""
    vocab = model["vocab"]
    ids = {**vocab} if isinstance(vocab, dict) else {text: i for i, (text, _) in enumerate(vocab)}
    tokens = [{**token, "id": ids.setdefault(token["content"], max(ids.values()) + 1)} for token in added_tokens]
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    return {"version": "1.0", **empty, "added_tokens": tokens, "model": model, **sections}


def template(before, after):
    special = {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in before + after}
    around = [[{"SpecialToken": {"id": name, "type_id": 0}} for name, _ in tokens] for tokens in (before, after)]
    single = around[0] + [{"Sequence": {"id": "A", "type_id": 0}}] + around[1]
    pair = single + [{"Sequence": {"id": "B", "type_id": 1}}]
    return part("TemplateProcessing", single=single, pair=pair, special_tokens=special)


MERGES = [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc"), ("\u2581", "a"), ("\u2581", "\u2581"), ("x", "\u2581"),
          ("\u2581a", "b"), ("c", "d"), ("ab", "cd"), ("a", "a"), ("aa", "aa")]
PREFIXED = [("a", "##b"), ("##b", "##c"), ("ab", "##c"), ("##a", "##b")]
SUFFIXED = [("a", "b</w>"), ("b", "c"), ("bc", "d</w>")]
BYTES = [f"<0x{b:02X}>" for b in range(256)]
SOME_BYTES = BYTES[:0x90]
SENTENCEPIECE = part("Sequence", normalizers=[part("Prepend", prepend="\u2581"), MARKS])
FLAGS = [
    added("<s>", special=True), added("cat", single_word=True), added("<l>", lstrip=True),
    added("<r>", rstrip=True, special=True), added("<lr>", lstrip=True, rstrip=True), added("<n>", normalized=True),
    added("ab"), added("abc"), added("ABD", normalized=True), added("caf\u00e9", single_word=True, normalized=True),
]
WORDS = part("WhitespaceSplit")
UNK = {"unk_token": "<unk>"}
FOLDED = part("Sequence", normalizers=[part("Lowercase"), part("NFD")])
AROUND = template([("a", 1), ("b", 2)], [("c", 3)])
CLS_SEP = {"sep": ["x", 6], "cls": ["y", 7]}
SMALL = [
    small(bpe(MERGES)), small(bpe(MERGES, **UNK)), small(bpe(MERGES, fuse_unk=True, **UNK)),
    small(bpe(MERGES, BYTES, byte_fallback=True)), small(bpe(MERGES, SOME_BYTES, byte_fallback=True, **UNK)),
    small(bpe(MERGES, SOME_BYTES, byte_fallback=True, fuse_unk=True, **UNK)),
    small(bpe(MERGES, ["abab"], ignore_merges=True), pre_tokenizer=WORDS),
    small(bpe(PREFIXED, continuing_subword_prefix="##", **UNK), pre_tokenizer=WORDS),
    small(bpe(SUFFIXED, end_of_word_suffix="</w>", **UNK), pre_tokenizer=WORDS),
    small(bpe(MERGES, BYTES, byte_fallback=True), normalizer=SENTENCEPIECE),
    small(bpe(MERGES), FLAGS), small(bpe(MERGES, **UNK), FLAGS, normalizer=FOLDED),
    small(bpe(MERGES), FLAGS, normalizer=SENTENCEPIECE), small(bpe(MERGES), FLAGS, pre_tokenizer=metaspace("first")),
    small(bpe(MERGES), post_processor=AROUND),
    small(bpe(MERGES), post_processor=part("RobertaProcessing", trim_offsets=True, add_prefix_space=True, **CLS_SEP)),
    small(bpe(MERGES), post_processor=part("BertProcessing", **CLS_SEP)),
    small(bpe(MERGES), post_processor=part("Sequence", processors=[byte_level(), AROUND])),
    small({**bpe(MERGES), "merges": ["#version: 0.2"] + [" ".join(pair) for pair in MERGES]}),
]
SCORES = [("<unk>", 0.0), ("\u2581", -2.0), ("a", -2.5), ("b", -2.5), ("ab", -2.9), ("c", -3.0), ("abc", -5.9),
          ("bc", -5.5), ("\u2581a", -4.5), ("aa", -5.0), ("aaa", -7.5), ("d", -3.5), ("cd", -6.5), ("\u4e2d", -4.0),
          ("\u4e2d\u6587", -7.0), ("b", -1.0), ("zz", -9.0)]
UNIGRAM = part("Unigram", vocab=SCORES, unk_id=0)
UNIGRAM_BYTES = part("Unigram", vocab=SCORES + [(byte, -6.0) for byte in BYTES], unk_id=0, byte_fallback=True)
UNIGRAM_SOME = part("Unigram", vocab=SCORES + [(byte, -6.0) for byte in SOME_BYTES], unk_id=0, byte_fallback=True)
METASPACES = part("Sequence", pretokenizers=[WORDS, metaspace("always")])
PIECES = ["[UNK]", "[CLS]", "[SEP]", "a", "b", "ab", "abc", "##a", "##b", "##bc", "##c", "##d", "cat", "##s", "x", "y",
          "1", "\u00e9", "##\u00e9", "cafe", ",", "\u4e2d", "caf"]


def wordpiece(pieces, **options):
    options = {"unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 20, **options}
    return part("WordPiece", vocab={piece: i for i, piece in enumerate(pieces)}, **options)


BERT_ALL = part("BertNormalizer", clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
BERT_WORDS = part("BertPreTokenizer")
CLS = {"cls": ["[CLS]", 1], "sep": ["[SEP]", 2]}
CUT = {"max_length": 4, "strategy": "LongestFirst", "stride": 0}
PAD = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
       "pad_token": "a"}
SMALL += [
    small(UNIGRAM), small(UNIGRAM_BYTES), small(UNIGRAM_SOME), small(UNIGRAM, pre_tokenizer=METASPACES),
    small({key: value for key, value in UNIGRAM.items() if key != "type"}, FLAGS, pre_tokenizer=METASPACES),
    small(wordpiece(PIECES), pre_tokenizer=BERT_WORDS),
    small(wordpiece(PIECES), FLAGS, normalizer=BERT_ALL, pre_tokenizer=BERT_WORDS,
          post_processor=part("BertProcessing", **CLS)),
    small(wordpiece(PIECES, continuing_subword_prefix=""), pre_tokenizer=WORDS),
    small(wordpiece(PIECES, continuing_subword_prefix="@@", max_input_chars_per_word=3), pre_tokenizer=WORDS),
    small(part("WordLevel", vocab={"[UNK]": 0, "a": 1, "ab": 2, "cat": 3, "abab": 4}, unk_token="[UNK]"),
          pre_tokenizer=WORDS),
    small(bpe(MERGES), normalizer=part("Nmt"), truncation={**CUT, "direction": "Right"}, padding=PAD),
]
SMALL_TEXTS = [
    "", "a", "ab", "abc", "abcd", "aabbccdd", "abab abab", "aaaaaaaaa", " a  ab", "x y 1 1", "zzz", "azb", "z a zz",
    "\u00e9", "a\u00e9b", "a\u4e2d\u00e9z b", "\U0001f600ab", "ab\n", "x\u2581a\u2581\u2581b", "\u2581\u2581\u2581",
    "<s>", "a<s>b", " <s> a", "cat", "cats", "a cat b", "cat<s>cat", "_cat", "a  <l>  b", "a  <r>  b", "<r> <l>",
    "<r>  <lr>  <l>", "  <lr>  ", "<n>", "a<n>b", "<N>", "abd", "ABD", "aabdabc", "caf\u00e9", "cafe\u0301",
    "CAF\u00c9 caf\u00e9s", "abcabab",
    "\u3000<l>\u00a0", "<s", "s>", "<<s>>", "1cat cat1", "\u00e9cat", "cat\u0301", "x" * 50 + " a" * 50, "abcd" * 40,
]

# ---- what the package says -------------------------------------------------------------------------------------------


def load(document):
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def components():
    empty = part("BPE", vocab={}, merges=[])
    changed, pieces, decoded = [], [], []
    for one in NORMALIZERS:
        normalizer = load(small(empty, normalizer=one)).normalizer
        normal = {text: normalizer.normalize_str(text) for text in SENTENCES}
        changed.append([one, {text: result for text, result in normal.items() if result != text}])
    for one in PRE_TOKENIZERS:
        cut = load(small(empty, pre_tokenizer=one)).pre_tokenizer
        pieces.append([one, [[piece for piece, _ in cut.pre_tokenize_str(text)] for text in CUT_TEXTS]])
    for one in DECODERS:
        decoder = load(small(empty, decoder=one)).decoder if one else None
        decoded.append([one, [decode(decoder, tokens) for tokens in TOKEN_LISTS]])
    return {"made_with": MADE_WITH, "normalizers": changed, "cut_texts": CUT_TEXTS, "pre_tokenizers": pieces,
            "decoders": decoded, "token_lists": TOKEN_LISTS}


def decode(decoder, tokens):
    """The text; None where the package panics (Strip, when both ends want the same character)."""
    if decoder is None:
        return " ".join(tokens)
    try:
        return decoder.decode(tokens)
    except BaseException as panic:
        if type(panic).__name__ != "PanicException":
            raise
        return None


def encode_both(tokenizer, text):
    """Ids with everything on, and, where they are others, ids with special tokens neither added nor parsed."""
    tokenizer.encode_special_tokens = False
    ids = tokenizer.encode(text).ids
    tokenizer.encode_special_tokens = True
    plain = tokenizer.encode(text, add_special_tokens=False).ids
    return [ids, plain if plain != ids else None]


def mixed_byte_run(tokens):
    """Whether a run of byte tokens is partly valid UTF-8: Arc keeps the valid characters, `tokenizers` does not."""
    run = b""
    for token in tokens + [""]:
        if len(token) == 6 and token.startswith("<0x"):
            run += bytes([int(token[3:5], 16)])
            continue
        valid = run.decode("utf-8", errors="ignore")
        if valid and valid.encode() != run:
            return True
        run = b""
    return False


def id_lists(encoded, vocab_size):
    """What to decode: beginnings of encoded texts, which may break off inside a character, and random ids."""
    rng = random.Random(17)
    lists = rng.sample([ids for ids, _ in encoded if ids and len(ids) < 100], 80)
    random_ids = [[rng.randrange(vocab_size) for _ in range(12)] for _ in range(60)]
    return [ids[:rng.randint(1, len(ids))] for ids in lists] + random_ids


def real(path):
    document = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer = load(document)
    encoded = [encode_both(tokenizer, text) for text in SENTENCES]
    # `tokenizers` spells an added token that is normalised in its normal form when it decodes, and then takes it for no
    # special token. Arc, as transformers, does not; so the oracle for decoding has no such tokens.
    raw_tokens = [{**token, "normalized": False} for token in document["added_tokens"]]
    oracle = load({**document, "added_tokens": raw_tokens})
    decoded = []
    for ids in id_lists(encoded, tokenizer.get_vocab_size()):
        if mixed_byte_run([oracle.id_to_token(i) for i in ids]):
            continue
        text, skipped = (oracle.decode(ids, skip_special_tokens=skip) for skip in BOOLS)
        decoded.append([ids, text, None if skipped == text else skipped])
    return {"made_with": MADE_WITH, "encoded": encoded, "decoded": decoded}


BLOCK = 0x4000
FIRSTS = [*range(0, 0x34000, BLOCK), 0xE0000, 0xF0000, 0x10C000]  # the others hold no character


def checksums():
    """Per component, CRC-32 of what it makes of each block of code points: normalised, or pieces joined by newlines."""
    empty, rows = part("BPE", vocab={}, merges=[]), []
    blocks = [" ".join(f"a{chr(c)}b{chr(c)}" for c in range(first, first + BLOCK) if not 0xD800 <= c <= 0xDFFF)
              for first in FIRSTS]
    classes = [f"\\p{{{name}}}+" for name in "L Lu Ll Lt Lm Lo M Mn N Nd Nl P S Z C Han Hangul Latin Arabic".split()]
    cuts = [split(one, "Isolated") for one in classes + ["\\s+", "\\w+", "[[:alpha:]]+", "(?i:k|s|\u03c3)", O200K]]
    for one in NORMALIZERS:
        form = load(small(empty, normalizer=one)).normalizer
        rows.append([{"normalizer": one}, [zlib.crc32(form.normalize_str(block).encode()) for block in blocks]])
    for one in cuts + [part(kind) for kind in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts",
                                               "Punctuation")] + [part("Digits", individual_digits=False)]:
        cut = load(small(empty, pre_tokenizer=one)).pre_tokenizer
        pieces = (cut.pre_tokenize_str(block) for block in blocks)
        rows.append([{"pre_tokenizer": one}, [zlib.crc32("\n".join(p for p, _ in some).encode()) for some in pieces]])
    return {"made_with": MADE_WITH, "block": BLOCK, "firsts": FIRSTS, "checksums": rows}


def write_seeds():
    """Tokenizers under 3 KB, and the components, a few in each."""
    folder = TESTS / "fuzz" / "tokenizer_fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    normalizers = [one for one in NORMALIZERS if len(json.dumps(one)) < 500]
    lists = [normalizers, PRE_TOKENIZERS, [one for one in DECODERS if one]]
    documents = [document for document in SMALL if len(json.dumps(document)) < 3000]
    for i in range(max(map(len, lists))):
        parts = [one[i % len(one)] for one in lists]
        documents.append(small(bpe(MERGES[:3]), FLAGS[i % 4:i % 4 + 2], normalizer=parts[0], pre_tokenizer=parts[1],
                               decoder=parts[2]))
    for i, document in enumerate(documents):
        text = SMALL_TEXTS[i % len(SMALL_TEXTS)] + CUT_TEXTS[7 * i % len(CUT_TEXTS)]
        data = json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\0" + text
        (folder / f"seed_{i:02}").write_text(data, encoding="utf-8", newline="")
    return len(documents)


def write(name, document):
    (OUT / f"{name}.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    OUT.mkdir(parents=True, exist_ok=True)
    write("texts", SENTENCES)
    write("components", components())
    write("unicode", checksums())
    cases = [[[text] + encode_both(load(document), text) for text in SMALL_TEXTS] for document in SMALL]
    write("small", [{"tokenizer": document, "cases": case} for document, case in zip(SMALL, cases)])
    for name in REAL:
        path = pathlib.Path(sys.argv[1]) / "data" / name
        write(path.name, real(path))
    print(f"{len(SENTENCES)} texts, {len(NORMALIZERS)} normalizers, {len(PRE_TOKENIZERS)} pre-tokenizers, "
          f"{len(DECODERS)} decoders, {len(SMALL)} small tokenizers, {write_seeds()} seeds")


if __name__ == "__main__":
    main()

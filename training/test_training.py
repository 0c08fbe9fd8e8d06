"""Tests of the training folder on a CPU, without network: python training/test_training.py

A tiny model goes the whole way: data, tokenizer, training in one piece and in two, export, comparison with transformers.
"""
import functools
import json
import lzma
import os
import random
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "data")]
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import jinja2
import numpy as np
import torch

import attention
import definitions
import dialogue
import evaluate
import export
import extraction
import facts
import gguf
import heldout
import mixture
import patterns
import phrasing
import pools
import retrieval
import shipped_sets
import tools
import train
import wide
import wide_extraction
import wide_tools
from fields import LABELS
from model import TINY, Model, Shape, causal, rotary
from ngram import NGram
from tokenizer import SPACE, train_tokenizer
from train import load_model

SHORT, LONG = mixture.STAGES["first"]
FAMILIES = [family for family in SHORT.shares if family not in ("text", "stretch", "retrieval")]


def make_sources(folder):
    """Small stand-ins for what corpus.py fetches: sentences about words, and a dictionary of the word pools."""
    rng = random.Random(7)
    documents = []
    for _ in range(400):
        sentences = [f"The {pools.thing(rng, 'train')} was {patterns.random_text(rng, 'train', rng.randint(4, 12))}." for _ in range(24)]
        documents.append("\n\n".join(" ".join(sentences[i : i + 4]) for i in range(0, 24, 4)))
    lines = [json.dumps({"source": "test", "text": text}) for text in documents]
    (folder / "text.jsonl.xz").write_bytes(lzma.compress("\n".join(lines).encode()))
    words = [*pools.NOUNS.parts["train"][:120], *definitions.CLASSES.values()]
    synsets = {f"n{i}": [[word, word + " thing"], f"something that people call a {word}", ["n0"]] for i, word in enumerate(words)}
    frequent = [[word, "n", f"n{i}", 100 - i] for i, word in enumerate(words)]
    (folder / "wordnet.json.xz").write_bytes(lzma.compress(json.dumps({"synsets": synsets, "frequent": frequent}).encode()))


def run(*arguments):
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


class Training(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        make_sources(cls.folder)
        cls.sources = mixture.Sources(cls.folder)
        texts = ["".join(text for text, _ in cls.sources.document(family, random.Random(f"{family}{i}"), 512, SHORT)) for family in SHORT.shares for i in range(40)]
        cls.tokenizer = train_tokenizer(texts, TINY.vocab_size)
        cls.tokenizer_file = cls.folder / "tokenizer.json"
        cls.tokenizer.save(str(cls.tokenizer_file))

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def dialogues(self, split, n):
        rng = random.Random(f"test/{split}")
        return [self.sources.exchange(family, rng, split) for family in FAMILIES for _ in range(n)]

    def packer(self, seed=1):
        return mixture.Packer(self.sources, self.tokenizer_file, 2, 512, seed)

    # ---- data ------------------------------------------------------------------------------------------------------------

    def test_split_is_stable(self):
        self.assertEqual(pools.stable_hash("arc"), 17730848009556015994)
        for pool in (pools.NOUNS, pools.CITIES, facts.LABELS, tools.ENTITIES, tools.PARAMETERS, pools.WORDS):
            self.assertFalse(set(pool.parts["train"]) & set(pool.parts["held"]))
            self.assertTrue(pool.parts["held"])

    def test_held_out_phrases_are_not_trained(self):
        rng = random.Random(3)
        for phrases in (facts.TELL, facts.ASK, facts.REQUEST, facts.BRIEF, extraction.ASK, tools.REQUESTS, patterns.REPEAT, patterns.AFTER):
            trained, held = ({phrases.draw(rng, split) for _ in range(n)} for split, n in (("train", 20000), ("held", 500)))
            self.assertGreater(len(trained), 15)
            self.assertFalse(trained & held)

    def test_wide_wording_holds_out_the_same(self):
        rng = random.Random(9)
        held_request = lambda: tools.REQUESTS.draw(rng, "held").format(action="v", Action="V", entity="n", args="f")
        wide_request = lambda: rng.choice(wide_tools.BOTH).replace("{v}", "v").replace("{V}", "V").replace("{n}", "n").replace("{f}", rng.choice(("f", "with f", ": f")))
        for trained, held in ((lambda: wide_extraction.ask(rng, ["k"]), lambda: extraction.ask_for(rng, "held", ["k"])),
                              (lambda: wide.ask(rng, "x", "y"), lambda: facts.ask(rng, "held", "x", "y")),
                              (lambda: wide.tell(rng, "x", "y", "z"), lambda: facts.sentence(rng, "held", "x", "y", "z")),
                              (lambda: wide.layout(rng, "c", "q"), lambda: phrasing.layout(rng, "held").format(context="c", question="q")),
                              (wide_request, held_request)):
            trained, held = ({make() for _ in range(n)} for make, n in ((trained, 20000), (held, 500)))
            self.assertGreater(len(trained), 15)
            self.assertFalse(trained & held)
        for kind in LABELS:
            self.assertFalse(wide.HELD_LABELS & {wide_extraction.field(rng, kind).label for _ in range(300)})
        made = [wide_tools.wide_tool(rng)[0] for _ in range(3000)]
        self.assertFalse({key for tool in made for key in tool.parameters} & {label.replace(" ", "_") for label in wide_tools.HELD_KEYS})
        self.assertFalse({tool.name for tool in made} & set(tools.NATURAL))

    def test_wide_answers_stand_in_the_text(self):
        rng = random.Random(10)
        for make in (wide_extraction.dialogue, wide_tools.function_calls):
            for _ in range(400):
                read = ""
                for message in make(rng).messages:
                    read += message["content"] + "\n" if message["role"] == "user" else ""
                    objects = [call["function"]["arguments"] for call in message.get("tool_calls", ())]
                    if message["role"] == "assistant" and message["content"][:1] in "[{" and not objects:
                        answer = json.loads(message["content"] or "[]")
                        objects = answer if isinstance(answer, list) else [answer]
                    for value in (value for values in objects for value in values.values()):
                        if value is not None and not isinstance(value, bool) and str(value)[4:5] != "-":
                            self.assertIn(str(value).lower(), read.lower())

    def test_held_out_words_are_not_trained(self):
        rng = random.Random(4)
        for pool in pools.OpenPool.ALL:
            held = {word.lower() for word in (*pool.parts["held"], *pool.more.parts["held"])}
            self.assertFalse(held & {pool.draw(rng, "train").lower() for _ in range(2000)}, pool.name)
            self.assertLessEqual({pool.draw(rng, "held").lower() for _ in range(300)}, held, pool.name)
        self.assertFalse(pools.held_words() & {word.lower() for word in pools.WORDS.parts["train"] + pools.TERMS.parts["train"]})

    def test_held_out_answers_stand_in_the_text(self):
        """So that a reader who was never trained can find them; dates may be said in words, truth values as yes and no."""
        rng = random.Random(6)
        for who, what, value in facts.distinct_facts(rng, "held", 300):
            text, question = facts.sentence(rng, "held", who, what, value), facts.ask(rng, "held", who, what)
            for part, whole in ((value, text), (who, text), (what, text), (who, question), (what, question)):
                self.assertIn(part.lower(), whole.lower())
        for task in ("extraction", "calls"):
            for made in heldout.task_set(self.sources, task, 200):
                asked = made.messages[-2]["content"]
                if made.check == "call":
                    found = [arguments for _, arguments in heldout.calls_in(dialogue.answer_text(made.messages[-1]))]
                else:
                    found = json.loads(made.messages[-1]["content"]) if made.check == "json" else []
                for values in found if isinstance(found, list) else [found]:
                    for value in values.values():
                        if value is not None and not isinstance(value, bool) and str(value)[4:5] != "-":
                            self.assertIn(str(value), asked)

    def test_calls_fit_the_tools(self):
        rng = random.Random(8)
        makers = [functools.partial(make, split=split) for split in pools.SPLITS for make in (tools.function_calls, tools.tool_session, tools.tool_answers)]
        for make in (*makers, wide_tools.function_calls):
            for _ in range(300):
                made = make(rng)
                declared = {tool["function"]["name"]: tool["function"]["parameters"] for tool in made.tools}
                self.assertEqual(len(declared), len(made.tools))
                for call in (call["function"] for message in made.messages for call in message.get("tool_calls", ())):
                    parameters = declared[call["name"]]
                    self.assertLessEqual(set(parameters["required"]), set(call["arguments"]))
                    self.assertLessEqual(set(call["arguments"]), set(parameters["properties"]))

    def test_generators_are_deterministic(self):
        for split in pools.SPLITS:
            again = [made.messages for made in self.dialogues(split, 5)]
            self.assertEqual([made.messages for made in self.dialogues(split, 5)], again)
        first, second = (self.packer().batch(3, LONG, 512) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
        self.assertFalse(np.array_equal(first[0], self.packer().batch(4, LONG, 512)[0]))
        self.assertFalse(np.array_equal(first[0], self.packer(2).batch(3, LONG, 512)[0]))

    def test_held_out_sets_are_disjoint(self):
        rng = random.Random(5)
        asked = {family: set() for family in FAMILIES}
        names = set()
        for family in FAMILIES:
            for _ in range(1500 if family not in ("calls", "answers", "sessions") else 150):
                made = self.sources.exchange(family, rng, "train")
                asked[family] |= {message["content"] for message in made.messages if message["role"] == "user"}
                names |= {tool["function"]["name"] for tool in made.tools}
        for task in heldout.TASKS:
            if task not in ("chat", "calls"):  # these hold greetings, which are the same everywhere
                for made in heldout.task_set(self.sources, task, 150):
                    self.assertNotIn(made.messages[-2]["content"] if task != "answers" else made.messages[0]["content"], asked[task], task)
        self.assertFalse(names & set(tools.NATURAL_NAMES.parts["held"]))
        filler = {text for split in ("held",) for text in self.sources.documents[split]}
        self.assertTrue(filler)
        self.assertFalse(filler & set(self.sources.documents["train"]))

    def test_expected_answers_pass(self):
        for task in heldout.TASKS:
            for made in heldout.task_set(self.sources, task, 60):
                self.assertTrue(heldout.is_right(made, dialogue.answer_text(made.messages[-1])), (task, made.messages))
                self.assertFalse(heldout.is_right(made, "#"), task)

    def test_judged_as_by_arc(self):
        for case in json.loads((HERE / "is_right_cases.json").read_text()):
            made = dialogue.Dialogue([dialogue.user(""), dialogue.assistant(case["expected"])], check=case["check"], must=case.get("must", []))
            self.assertEqual(heldout.is_right(made, case["answer"]), case["right"], case)

    def test_packed_context(self):
        filler = ["one", "two", "three", "four"]
        text = "Read:\n\ntwo\n\nthree\n\nAda is here.\n\nfour\n\none\n\ncut"
        packed = shipped_sets.pack(text, {part: i for i, part in enumerate(filler)})
        self.assertEqual(packed, ["Read:", [1, 3], "Ada is here.", [3, 4], [0, 1], "cut"])

    def test_needle_trials(self):
        count = lambda text: len(self.tokenizer.encode(text).ids)
        for made in heldout.needle_set(self.sources, count, lengths=[512, 900], depths=[0.0, 0.5, 1.0], tries=3):
            size, limit = count(dialogue.prompt_text(made)), made.note["tokens"]
            prompt, value = made.messages[0]["content"], made.messages[1]["content"]
            self.assertLess(size + count(value), limit)  # and the answer's end
            self.assertGreater(size, limit * 0.85)
            self.assertIn(value, prompt)
            if made.note["depth"] == 0:
                self.assertLess(prompt.index(value) / len(prompt), 0.5)
            if made.note["depth"] == 1:
                self.assertGreater(prompt.rindex(value) / len(prompt), 0.5)

    def test_needle_trials_fit_whatever_a_cut_paragraph_begins_with(self):
        class Filler:
            def paragraph(self, _rng, _split):
                return " ".join(["1234567890"] * 40 + ["a"] * 200)

        count = lambda text: len(self.tokenizer.encode(text).ids)
        for made in heldout.needle_set(unittest.mock.Mock(filler=Filler()), count, lengths=[500, 600, 700, 800], depths=[0.5], tries=3):
            size, limit = count(dialogue.prompt_text(made)) + count(made.messages[1]["content"]), made.note["tokens"]
            self.assertLess(size, limit)
            self.assertGreater(size, limit - 40)

    def test_template_equals_rendering(self):
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        template = environment.from_string((HERE / "chat_template.jinja").read_text().rstrip("\n"))
        for made in self.dialogues("train", 25):
            messages = [message for message in made.messages]
            self.assertEqual(template.render(messages=messages, tools=made.tools), "".join(text for text, _ in dialogue.segments(messages, made.tools)))
            asked = template.render(messages=messages[:-1], tools=made.tools, add_generation_prompt=True)
            self.assertEqual(asked, dialogue.prompt_text(made))

    def test_parts_encode_like_the_whole(self):
        rng = random.Random(11)
        for family in mixture.STAGES["second"][0].shares:
            for _ in range(15):
                parts = self.sources.document(family, rng, 512, SHORT)
                tokens, _ = self.packer().encode(parts)
                self.assertEqual(tokens.tolist(), self.tokenizer.encode("".join(text for text, _ in parts)).ids, family)

    def test_a_word_is_cut_alike_everywhere(self):
        rng = random.Random(12)
        cut = lambda text: self.tokenizer.encode(text).tokens
        for word in (pools.made_up_word(rng, "train") for _ in range(300)):
            tokens = cut(word)
            for before in ('"', "(", "_", "-", ".", '{"', ', "', "\n"):
                self.assertEqual(cut(before + word)[-len(tokens) :], tokens)
            spaced = cut("a " + word)[1:]
            self.assertIn(spaced, ([SPACE, *tokens], [SPACE + tokens[0], *tokens[1:]]))

    def test_rows_are_packed(self):
        tokens, weights, documents = mixture.Packer(self.sources, self.tokenizer_file, 24, 512, 1).batch(0, SHORT, 512)
        self.assertEqual(tokens.shape, (24, 512))
        starts = np.diff(documents.astype(int), axis=1, prepend=-1)
        self.assertTrue(((starts == 0) | (starts == 1)).all())
        self.assertTrue((weights[starts == 1] == 0).all())
        self.assertGreater((weights >= SHORT.said).mean(), 0.05)
        self.assertLess((weights[:, -mixture.MIN_GAP - 1 :] == 0).all(axis=1).mean(), 1)

    # ---- model -----------------------------------------------------------------------------------------------------------

    def test_block_mask_equals_dense(self):
        documents = torch.tensor([[0] * 100 + [1] * 28 + [2] * 256 + [3] * 128, [0] * 512])
        same = (documents[:, :, None] == documents[:, None, :]) & torch.ones(512, 512, dtype=torch.bool).tril()
        blocks = same.view(2, 4, 128, 4, 128).permute(0, 1, 3, 2, 4).flatten(3)
        mask = attention.block_mask(documents)
        for counts, indices, wanted in ((mask.kv_num_blocks, mask.kv_indices, blocks.any(-1) & ~blocks.all(-1)),
                                        (mask.full_kv_num_blocks, mask.full_kv_indices, blocks.all(-1))):
            got = torch.zeros(2, 4, 4, dtype=torch.bool)
            for b in range(2):
                for row in range(4):
                    got[b, row, indices[b, 0, row, : counts[b, 0, row]].long()] = True
            torch.testing.assert_close(got, wanted)
        q = torch.arange(512)
        torch.testing.assert_close(mask.mask_mod(0, 0, q[:, None], q[None, :]), same[0])
        self.assertEqual(attention.document_starts(documents).tolist(), [0, 100, 128, 384, 512, 1024])

    def test_wrong_attention_is_noticed(self):
        documents = torch.from_numpy(self.packer().batch(0, SHORT, 256)[2].astype("int32"))
        self.assertLess(train.attention_error("dense", documents, 256, TINY, False), 1e-6)
        careless = lambda kind, layout, longest: causal if kind == "varlen" else attention.dense(layout, longest)  # sees earlier documents
        with unittest.mock.patch.object(attention, "attend", careless), unittest.mock.patch.object(attention, "layout", lambda kind, x: x):
            self.assertGreater(train.attention_error("varlen", documents, 256, TINY, False), 0.1)

    def test_packed_equals_alone(self):
        torch.manual_seed(0)
        model = Model(TINY)
        tokens = torch.randint(0, TINY.vocab_size, (1, 96))
        documents = torch.tensor([[0] * 40 + [1] * 56])
        packed = model.states(tokens, rotary(torch.arange(96), TINY), attention.dense(documents, 96))[1]
        alone = model.states(tokens[:, 40:], rotary(torch.arange(56), TINY), causal)[1]
        torch.testing.assert_close(packed[:, 40:], alone, atol=2e-5, rtol=2e-5)

    def test_cached_generation_equals_recomputing(self):
        torch.manual_seed(1)
        model = Model(TINY).eval()
        for p in model.parameters():
            p.data *= 3  # untrained weights repeat one token; larger ones do not
        prompts = [torch.randint(0, 1000, (n,)).tolist() for n in (5, 17, 11)]
        answers = evaluate.generate(model, prompts, 12, set(), "cpu", 10**6)
        self.assertGreater(len(set(sum(answers, []))), 5)
        for prompt, answer in zip(prompts, answers, strict=True):
            text = list(prompt)
            for token in answer:
                _, normed = model.states(torch.tensor([text]), rotary(torch.arange(len(text)), TINY), causal)
                self.assertEqual(model.logits(normed[0, -1]).argmax().item(), token)
                text.append(token)

    def test_extra_layer_does_not_teach_the_trunk(self):
        torch.manual_seed(2)
        model = Model(TINY)
        tokens, weights = torch.randint(0, 1000, (1, 64)), torch.ones(1, 64)
        _, ahead = model.losses(tokens, weights, rotary(torch.arange(64), TINY), causal, True)
        ahead.backward()
        self.assertTrue(all(p.grad is None or not p.grad.any() for name, p in model.named_parameters() if name.startswith("model.")))
        self.assertTrue(all(p.grad is not None and p.grad.any() for name, p in model.named_parameters() if name.startswith("mtp.")))

    def test_full_shape_fits(self):
        model = Model(Shape())
        size = sum(p.numel() * 34 // 32 if p.ndim == 2 else 4 * p.numel() for p in model.parameters())
        self.assertLess(size, export.MAX_BYTES - 500_000)  # tokenizer and headers take about 400 kB
        shape = Shape()
        self.assertGreaterEqual(shape.n_heads, 4 * shape.n_kv_heads)
        self.assertEqual(shape.head_dim, 128)

    def test_ngram_is_a_distribution(self):
        rng = np.random.default_rng(3)
        tokens = rng.integers(0, 12, 3000)
        model = NGram(tokens, 12)
        for history in ([3, 1, 4, 1], [11], [0, 0, 0, 0]):
            total = sum(np.exp(model.log_probabilities(np.array([*history, word]))[-1]) for word in range(12))
            self.assertAlmostEqual(total, 1.0, places=9)

    # ---- the whole way ---------------------------------------------------------------------------------------------------

    def test_train_resume_export(self):
        started = time.monotonic()
        command = [HERE / "train.py", "--data", self.folder, "--plan", "tiny", "--workers", 1]
        run(*command, "--out", self.folder / "whole")
        run(*command, "--out", self.folder / "pieces", "--stop-at", 13)
        run(*command, "--out", self.folder / "pieces", "--workers", 2)
        (model, whole), (resumed, pieces) = (load_model(self.folder / name / "checkpoint.pt") for name in ("whole", "pieces"))
        self.assertEqual((whole["step"], pieces["step"]), (30, 30))
        for name, value in model.state_dict().items():
            torch.testing.assert_close(resumed.state_dict()[name], value, atol=1e-5, rtol=1e-4, msg=name)
        last = json.loads((self.folder / "whole" / "log.jsonl").read_text().splitlines()[-1])
        self.assertLess(last["loss"], np.log(TINY.vocab_size) - 1)  # an untrained model is at the logarithm
        self.assertGreater(last["loss_ahead"], 0)

        file = self.folder / "tiny.gguf"
        run(HERE / "export.py", "gguf", "--checkpoint", self.folder / "whole" / "checkpoint.pt", "--tokenizer", self.tokenizer_file, "--out", file)
        run(HERE / "export.py", "hf", "--gguf", file, "--out", self.folder / "hf")
        self.check_transformers(file)
        run(HERE / "train.py", "--data", self.folder, "--plan", "tiny-second", "--workers", 1, "--from-gguf", file, "--out", self.folder / "second")
        self.assertLess(json.loads((self.folder / "second" / "log.jsonl").read_text().splitlines()[-1])["loss"], np.log(TINY.vocab_size) - 1)
        second, between = self.folder / "second.gguf", self.folder / "mixed.gguf"
        run(HERE / "export.py", "gguf", "--checkpoint", self.folder / "second" / "checkpoint.pt", "--tokenizer", self.tokenizer_file, "--out", second)
        run(HERE / "export.py", "mix", "--gguf", file, second, "--share", 0.25, "--tokenizer", self.tokenizer_file, "--out", between)
        for name, value in export.read_model(between)[0].state_dict().items():
            a, b = (export.read_model(path)[0].state_dict()[name] for path in (file, second))
            torch.testing.assert_close(value, 0.75 * a + 0.25 * b, atol=0.02 * a.abs().max().item(), rtol=0)
        result = self.folder / "result.json"
        run(HERE / "evaluate.py", "--data", self.folder, "--model", file, "--n", 3, "--tries", 1, "--longest", 400, "--documents", 3, "--json", result,
            "--write-sets", self.folder / "sets")
        self.assertEqual(set(json.loads(result.read_text())["tasks"]), set(heldout.TASKS))
        self.assertLess(time.monotonic() - started, 600)

    def check_transformers(self, file):
        from transformers import AutoModelForCausalLM, AutoTokenizer, logging

        logging.set_verbosity_error()  # the extra layer's tensors are unexpected to transformers
        logging.disable_progress_bar()

        tokenizer = AutoTokenizer.from_pretrained(self.folder / "hf")
        theirs = AutoModelForCausalLM.from_pretrained(self.folder / "hf", dtype=torch.float32).eval()
        ours, read = export.read_model(file)
        self.assertEqual(read.metadata["general.architecture"], "qwen3")
        made = self.dialogues("train", 2)
        for one in made:
            text = "".join(part for part, _ in dialogue.segments(one.messages, one.tools))
            ids = self.tokenizer.encode(text).ids
            self.assertEqual(tokenizer.encode(text, add_special_tokens=False), ids)
            self.assertEqual(tokenizer.decode(ids), text)
            rendered = tokenizer.apply_chat_template(one.messages, tools=one.tools or None, tokenize=False)
            self.assertEqual(rendered, text)
        tokens = torch.tensor([ids])
        with torch.no_grad():
            want = theirs(tokens).logits
            got = ours.logits(ours.states(tokens, rotary(torch.arange(tokens.shape[1]), ours.shape), causal)[1])
        torch.testing.assert_close(got, want, atol=2e-4, rtol=2e-4)

    def test_gguf_values(self):
        rng = np.random.default_rng(1)
        matrix = (rng.standard_normal((5, 96)) * 10.0 ** rng.integers(-4, 3, (5, 96))).astype(np.float32)
        matrix[0, :32] = 0
        back = gguf.dequantize(gguf.quantize(matrix), 5, 96)
        step = np.abs(matrix).reshape(-1, 32).max(axis=1, keepdims=True) / 127
        self.assertTrue((np.abs(back - matrix).reshape(-1, 32) <= step * 0.6 + 1e-7).all())
        pairs = {"a.text": "wörld", "b.flag": True, "c.number": 7, "d.list": ["x", "yz"], "e.float": gguf.Float(0.5), "f.types": [1, 3]}
        file = self.folder / "values.gguf"
        gguf.write(file, pairs, {"m.weight": matrix, "v.weight": matrix[0, 32:37]})
        read = gguf.Reader(file)
        self.assertEqual(read.metadata, pairs)
        np.testing.assert_array_equal(read.tensors["m.weight"], back)
        np.testing.assert_array_equal(read.tensors["v.weight"], matrix[0, 32:37])


if __name__ == "__main__":
    unittest.main(verbosity=1)

#!/usr/bin/env python3
"""The official `openai` package against a running server: any model, or the fake engine.

    openai_client_test.py http://127.0.0.1:1234 [--api-key KEY] [--no-chat] [--embeddings no|too|only]

A model without a chat template gets one with `arc serve --chat-template tests/serve/plain.jinja`. The package checks every
answer against its own schemas. Prints the number of checks; exits with 1 when one fails. Needs
tools/requirements-serve.txt.
"""
import argparse
import array
import asyncio
import json
import threading
import time
import urllib.request

import openai

GREEDY = {"temperature": 0, "max_tokens": 8}
PROMPT = "Once upon a time there was a little dog"
MESSAGES = [{"role": "user", "content": "Tell me a story about a little dog"}]


class Checks:
    def __init__(self):
        self.done = self.failed = 0

    def __call__(self, condition, what):
        self.done += 1
        if not condition:
            self.failed += 1
            print("FAILED:", what)

    def equal(self, got, expected, what):
        self(got == expected, f"{what}: got {got!r}, expected {expected!r}")

    def raises(self, kind, param, what, call):
        try:
            call()
        except kind as error:
            body = error.body if isinstance(error.body, dict) else {}
            self.equal(body.get("param"), param, what + ": param")
            self(bool(body.get("message")), what + ": message")
        except Exception as error:  # another kind of error is the failure
            self(False, f"{what}: {error!r} instead of {kind.__name__}")
        else:
            self(False, f"{what}: accepted")


def post(base, key, path, body):
    request = urllib.request.Request(base + path, json.dumps(body).encode(),
                                     {"Content-Type": "application/json", "Authorization": "Bearer " + key})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def metrics(base):
    text = urllib.request.urlopen(base + "/metrics", timeout=10).read().decode()
    lines = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def check_state(check, base, client):
    with urllib.request.urlopen(base + "/health", timeout=10) as response:
        check.equal(response.status, 200, "/health")
    models = client.models.list().data
    check.equal(len(models), 1, "one model")
    check.equal(models[0].object, "model", "model object")
    check(models[0].created > 0, "model's time")
    check.equal(client.models.retrieve(models[0].id), models[0], "the model by its name")
    check.raises(openai.NotFoundError, "model", "a model of another name", lambda: client.models.retrieve("no/such"))
    raw = client.models.with_raw_response.list()
    check(raw.headers["date"].endswith(" GMT"), "Date header")
    check("access-control-allow-origin" not in raw.headers, "no other origins")
    return models[0].id


def check_completions(check, client, strict, model):
    whole = strict.completions.create(model=model, prompt=PROMPT, **GREEDY)
    check.equal(whole.object, "text_completion", "object")
    check.equal(whole.model, model, "model")
    check(whole.id.startswith("cmpl-"), "id")
    check(whole.choices[0].finish_reason in ("stop", "length"), "finish reason")
    check(0 < whole.usage.completion_tokens <= 8, "completion tokens")
    check.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens, "total tokens")
    text = whole.choices[0].text
    check(len(text) > 0, "text")

    chunks = list(client.completions.create(model="default", prompt=PROMPT, stream=True,
                                            stream_options={"include_usage": True}, **GREEDY))
    check.equal("".join(c.choices[0].text for c in chunks if c.choices), text, "streamed text")
    check.equal(chunks[-1].usage.total_tokens, whole.usage.total_tokens, "usage of a stream")
    check.equal(chunks[-1].choices, [], "last chunk")
    check.equal(chunks[-2].choices[0].finish_reason, whole.choices[0].finish_reason, "streamed finish reason")
    check(all(c.usage is None for c in chunks[:-1]), "usage in the last chunk only")
    check.equal(len({c.id for c in chunks}), 1, "one id")

    two = strict.completions.create(model=model, prompt=[PROMPT, "The sun"], n=2, seed=1, max_tokens=4)
    check.equal([c.index for c in two.choices], [0, 1, 2, 3], "choices of two prompts")
    check(two.usage.completion_tokens <= 16, "tokens of four answers")

    echo = client.completions.create(model=model, prompt=PROMPT, echo=True, logprobs=2, **GREEDY)
    check(echo.choices[0].text.startswith(PROMPT), "echo")
    check(echo.choices[0].text.endswith(text), "echo and answer")
    logprobs = echo.choices[0].logprobs
    lengths = {len(logprobs.tokens), len(logprobs.token_logprobs), len(logprobs.top_logprobs), len(logprobs.text_offset)}
    check.equal(lengths, {echo.usage.total_tokens}, "lengths of the logprob lists")
    check(logprobs.token_logprobs[0] is None, "the first token has no logprob")
    check(all(v <= 0 for v in logprobs.token_logprobs[1:]), "logprobs are not positive")
    check(all(len(top) in (2, 3) for top in logprobs.top_logprobs[1:]), "alternatives")
    check.equal(logprobs.text_offset, sorted(logprobs.text_offset), "offsets rise")

    by_id = client.completions.create(model=model, prompt=PROMPT, logprobs=1, echo=True,
                                      extra_body={"return_tokens_as_token_ids": True}, temperature=0, max_tokens=1)
    names = by_id.choices[0].logprobs.tokens
    check(all(name.startswith("token_id:") for name in names), "tokens as ids")
    ids = [int(name.split(":")[1]) for name in names[: by_id.usage.prompt_tokens]]
    from_ids = client.completions.create(model=model, prompt=ids, **GREEDY)
    check.equal(from_ids.choices[0].text, text, "prompt of token ids")
    lists = client.completions.create(model=model, prompt=[ids, ids], **GREEDY)
    check.equal([c.text for c in lists.choices], [text, text], "prompts of token ids")

    words = text.split()
    if len(words) > 2:
        stopped = client.completions.create(model=model, prompt=PROMPT, stop=[words[1]], **GREEDY).choices[0]
        check(words[1] not in stopped.text and text.startswith(stopped.text), "stop")
        check.equal(stopped.finish_reason, "stop", "reason of stop")
    seeded = [client.completions.create(model=model, prompt=PROMPT, seed=5, temperature=1, max_tokens=8)
              for _ in range(2)]
    check.equal(seeded[0].choices[0].text, seeded[1].choices[0].text, "same seed, same text")
    forced = client.completions.create(model=model, prompt=PROMPT, max_tokens=12,
                                       extra_body={"ignore_eos": True, "min_tokens": 12, "top_k": 5, "min_p": 0.01,
                                                   "repetition_penalty": 1.1})
    check.equal(forced.usage.completion_tokens, 12, "ignore_eos")
    check.equal(forced.choices[0].finish_reason, "length", "reason of ignore_eos")


def check_streams(check, client, model):
    """Chunks, put together, are the whole answer, logprobs and several choices included."""
    arguments = {"model": model, "prompt": [PROMPT, "The sun"], "n": 2, "logprobs": 2, "seed": 3, "max_tokens": 6}
    whole = client.completions.create(**arguments)
    for choice in range(4):
        check.equal(whole.choices[choice].index, choice, "order of choices")
    chunks = list(client.completions.create(stream=True, **arguments))
    check(all(c.object == "text_completion" and c.model == model for c in chunks), "heads of chunks")
    for choice in whole.choices:
        own = [c.choices[0] for c in chunks if c.choices[0].index == choice.index]
        check.equal("".join(c.text for c in own), choice.text, f"text of choice {choice.index}")
        check.equal([c.finish_reason for c in own[:-1]], [None] * (len(own) - 1), "no reason before the end")
        check.equal(own[-1].finish_reason, choice.finish_reason, "reason at the end")
        pieces = [c.logprobs for c in own if c.logprobs]
        for name in ("tokens", "token_logprobs", "text_offset", "top_logprobs"):
            joined = sum((getattr(p, name) for p in pieces), [])
            check.equal(joined, getattr(choice.logprobs, name), f"{name} of choice {choice.index}")
    first = list(client.completions.create(stream=True, **arguments))
    check.equal(len(first), len(chunks), "the same seed, the same chunks")
    with client.completions.with_streaming_response.create(stream=True, **arguments) as response:
        check(response.headers["content-type"].startswith("text/event-stream"), "type of a stream")
        lines = [line for line in response.iter_lines() if line]
    check.equal(lines[-1], "data: [DONE]", "end of a stream")
    check(all(line.startswith("data: {") for line in lines[:-1]), "events of a stream")


def check_tokens(check, base, key, client, model, chat):
    """Token ids: what /tokenize gives, completions take, and logprobs show."""
    got = post(base, key, "/tokenize", {"model": model, "prompt": PROMPT, "return_token_strs": True})
    tokens = got["tokens"]
    check.equal(got["count"], len(tokens), "count of tokens")
    check.equal(len(got["token_strs"]), len(tokens), "count of token texts")
    check(got["max_model_len"] > len(tokens), "max_model_len")
    plain = post(base, key, "/tokenize", {"prompt": PROMPT, "add_special_tokens": False})["tokens"]
    check(plain == tokens[-len(plain):] or plain == tokens[: len(plain)], "special tokens lie around the text")
    text = post(base, key, "/detokenize", {"model": model, "tokens": plain})["prompt"]
    check.equal(text.strip(), PROMPT, "there and back")

    by_text = client.completions.create(model=model, prompt=PROMPT, logprobs=0, **GREEDY)
    check.equal(by_text.usage.prompt_tokens, len(tokens), "prompt_tokens")
    by_ids = client.completions.create(model=model, prompt=tokens, logprobs=0, **GREEDY)
    check.equal(by_ids.choices[0].text, by_text.choices[0].text, "a prompt of token ids")
    check.equal(by_ids.choices[0].logprobs.token_logprobs, by_text.choices[0].logprobs.token_logprobs, "its logprobs")
    chunks = list(client.completions.create(model=model, prompt=tokens, stream=True, **GREEDY))
    check.equal("".join(c.choices[0].text for c in chunks), by_text.choices[0].text, "a stream from token ids")
    named = client.completions.create(model=model, prompt=[tokens, plain], logprobs=0, temperature=0, max_tokens=3,
                                      extra_body={"return_tokens_as_token_ids": True})
    check(all(t.startswith("token_id:") for c in named.choices for t in c.logprobs.tokens), "tokens as ids")

    wanted = plain[0]
    biased = client.completions.create(model=model, prompt=PROMPT, logprobs=0, temperature=0, max_tokens=3,
                                       logit_bias={str(wanted): 100},
                                       extra_body={"return_tokens_as_token_ids": True, "ignore_eos": True})
    check.equal(biased.choices[0].logprobs.tokens, [f"token_id:{wanted}"] * 3, "logit_bias")
    ended = client.completions.create(model=model, prompt=PROMPT, temperature=0, max_tokens=3,
                                      logit_bias={str(wanted): 100}, extra_body={"stop_token_ids": [wanted]})
    check.equal((ended.choices[0].text, ended.choices[0].finish_reason), ("", "stop"), "stop_token_ids")
    if chat:
        rendered = post(base, key, "/tokenize", {"messages": MESSAGES})["tokens"]
        answer = client.chat.completions.create(model=model, messages=MESSAGES, **GREEDY)
        check.equal(answer.usage.prompt_tokens, len(rendered), "tokens of a conversation")
        shorter = post(base, key, "/tokenize", {"messages": MESSAGES, "add_generation_prompt": False})["tokens"]
        check.equal(rendered[: len(shorter)], shorter, "the generation prompt comes last")
        check_special_text(check, base, key)


def check_special_text(check, base, key):
    """A message that spells a special token stays text."""
    for token in ("</s>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>"):
        ids = post(base, key, "/tokenize", {"prompt": token, "add_special_tokens": False})["tokens"]
        if len(ids) > 1:
            continue  # this model has no such token
        count = [post(base, key, "/tokenize", {"messages": [{"role": "user", "content": text}]})["tokens"].count(ids[0])
                 for text in ("x", f"x {token} x")]
        check.equal(count[0], count[1], f"{token} in a message")


def check_chat(check, client, model):
    whole = client.chat.completions.create(model=model, messages=MESSAGES, logprobs=True, top_logprobs=3, **GREEDY)
    check.equal(whole.object, "chat.completion", "chat object")
    check(whole.id.startswith("chatcmpl-"), "chat id")
    check.equal(whole.choices[0].message.role, "assistant", "role")
    content = whole.choices[0].message.content
    entries = whole.choices[0].logprobs.content
    check.equal(len(entries), whole.usage.completion_tokens, "one logprob entry a token")
    check(all(len(e.top_logprobs) == 3 and e.logprob <= 0 for e in entries), "top_logprobs")
    check(all(bytes(e.bytes).decode(errors="ignore") in e.token or e.token.startswith("bytes:") for e in entries), "bytes")

    chunks = list(client.chat.completions.create(model=model, messages=MESSAGES, stream=True, **GREEDY))
    check.equal(chunks[0].choices[0].delta.role, "assistant", "first delta")
    check.equal("".join(c.choices[0].delta.content or "" for c in chunks), content, "streamed content")
    check.equal(chunks[-1].choices[0].finish_reason, whole.choices[0].finish_reason, "streamed chat finish")
    check(all(c.usage is None for c in chunks), "no usage unasked")

    parts = [{"role": "user", "content": [{"type": "text", "text": MESSAGES[0]["content"]}]}]
    same = client.chat.completions.create(model=model, messages=parts, **GREEDY)
    check.equal(same.choices[0].message.content, content, "content as parts")
    n = client.chat.completions.create(model=model, messages=MESSAGES, n=3, max_completion_tokens=4, seed=3, user="u")
    check.equal([c.index for c in n.choices], [0, 1, 2], "n answers")
    with client.chat.completions.stream(model=model, messages=MESSAGES, **GREEDY) as stream:
        deltas = "".join(event.delta for event in stream if event.type == "content.delta")
    check.equal(deltas, content, "the package's stream helper")

    scored = list(client.chat.completions.create(model=model, messages=MESSAGES, stream=True, logprobs=True,
                                                 top_logprobs=3, stream_options={"include_usage": True}, **GREEDY))
    joined = [e for c in scored if c.choices and c.choices[0].logprobs for e in c.choices[0].logprobs.content]
    check.equal(joined, entries, "streamed logprobs")
    check.equal(scored[-1].usage.completion_tokens, len(entries), "streamed usage")
    both = client.chat.completions.create(model=model, messages=MESSAGES, temperature=0, max_tokens=9,
                                          max_completion_tokens=2, extra_body={"ignore_eos": True})
    check.equal(both.usage.completion_tokens, 2, "max_completion_tokens wins")
    check.equal(both.choices[0].finish_reason, "length", "reason of a cut answer")
    several = client.chat.completions.create(model=model, stream=True, n=2, seed=1, max_tokens=4,
                                             messages=[{"role": "system", "content": "Be brief."}, *MESSAGES])
    roles = [c.choices[0].index for c in several if c.choices[0].delta.role == "assistant"]
    check.equal(sorted(roles), [0, 1], "one role for each choice")
    seeded = [client.chat.completions.create(model=model, messages=MESSAGES, seed=7, max_tokens=8).choices[0].message
              for _ in range(2)]
    check.equal(seeded[0], seeded[1], "same seed, same message")
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    turns = [*MESSAGES, {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"}]
    called = client.chat.completions.create(model=model, messages=turns, tools=[tool], tool_choice="none", **GREEDY)
    check(called.choices[0].message.content is not None, "a conversation with tools")


def check_errors(check, base, client, model, chat):
    complete = client.completions.create
    bad = openai.BadRequestError
    check.raises(openai.NotFoundError, "model", "unknown model", lambda: complete(model="no-such", prompt="x"))
    for param, value in [("temperature", 9), ("top_p", -1), ("n", 0), ("n", 10**6), ("max_tokens", -5), ("logprobs", 99),
                         ("stop", ["x"] * 99), ("logit_bias", {"99999999": 1}), ("presence_penalty", 7), ("prompt", [])]:
        arguments = {"model": model, "prompt": "x", param: value}
        check.raises(bad, param, f"{param}={value!r}"[:60], lambda: complete(**arguments))
    check.raises(bad, "repetition_penalty", "repetition_penalty",
                 lambda: complete(model=model, prompt="x", extra_body={"repetition_penalty": 0}))
    check.raises(bad, "tempreture", "a misspelt field",
                 lambda: complete(model=model, prompt="x", extra_body={"tempreture": 1}))
    check.raises(bad, None, "an over-long prompt", lambda: complete(model=model, prompt="word " * 200_000))
    try:
        complete(model=model, prompt=[1] * 300_000)
    except bad as error:
        check.equal(error.code, "context_length_exceeded", "code of an over-long prompt")
        check("300000" in error.message, "an over-long prompt's length")
    check.raises(bad, "prompt[0]", "token ids outside the vocabulary", lambda: complete(model=model, prompt=[2**31 - 1]))
    check.raises(bad, "prompt[1]", "mixed prompts", lambda: complete(model=model, prompt=["a", [1]]))
    check.raises(bad, "temperature", "a bad stream", lambda: complete(model=model, prompt="x", stream=True, temperature=9))
    check.raises(bad, "seed", "a large seed", lambda: complete(model=model, prompt="x", seed=2**64))
    check.raises(bad, "stream_options", "stream_options alone",
                 lambda: complete(model=model, prompt="x", stream_options={"include_usage": True}))
    check.raises(bad, "suffix", "suffix", lambda: complete(model=model, prompt="x", suffix="y"))
    check.raises(bad, None, "deep nesting",
                 lambda: complete(model=model, prompt="x", extra_body={"metadata": json.loads("[" * 90 + "]" * 90)}))
    if chat:
        check.raises(bad, "messages", "no messages", lambda: client.chat.completions.create(model=model, messages=[]))
        check.raises(bad, "top_logprobs", "top_logprobs alone",
                     lambda: client.chat.completions.create(model=model, messages=MESSAGES, top_logprobs=2))
    wrong = client.with_options(base_url=base + "/v9")
    check.raises(openai.NotFoundError, None, "unknown route", lambda: wrong.completions.create(model=model, prompt="x"))


def check_cancellation(check, base, key, client, model):
    endless = {"model": model, "prompt": PROMPT, "n": 16, "extra_body": {"ignore_eos": True}, "max_tokens": 10**6}

    def close_stream():
        stream = client.completions.create(stream=True, **endless)
        next(iter(stream))
        stream.close()

    def time_out():
        client.with_options(timeout=0.05).completions.create(**endless)

    async def cancel_task():
        async with openai.AsyncOpenAI(base_url=base + "/v1", api_key=key, max_retries=0) as other:
            task = asyncio.create_task(other.completions.create(**endless))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    for what, leave in [("a closed stream", close_stream), ("a client that gives up", time_out),
                        ("a cancelled task", lambda: asyncio.run(cancel_task()))]:
        before = metrics(base)["arc_requests_cancelled_total"]
        try:
            leave()
        except openai.APITimeoutError:
            pass
        for _ in range(200):
            now = metrics(base)
            if now["arc_requests_cancelled_total"] > before and now["arc_requests_running"] == 0:
                break
            time.sleep(0.05)
        check.equal(now["arc_requests_cancelled_total"], before + 1, what + " is cancelled")
        check.equal(now["arc_requests_running"], 0, what + ": nothing runs on")
    totals = [now[f"arc_requests_{name}_total"] for name in ("finished", "cancelled", "failed")]
    check.equal(sum(totals), now["arc_requests_total"], "every request is accounted for")
    check.equal(now["arc_requests_failed_total"], 0, "no request failed")


def check_concurrency(check, client, model):
    expected = client.completions.create(model=model, prompt=PROMPT, **GREEDY).choices[0].text
    texts = []

    def one():
        stream = client.completions.create(model=model, prompt=PROMPT, stream=True, **GREEDY)
        texts.append("".join(c.choices[0].text for c in stream))

    threads = [threading.Thread(target=one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check.equal(texts, [expected] * 16, "16 streams at a time")


async def check_async(check, base, key, model):
    async with openai.AsyncOpenAI(base_url=base + "/v1", api_key=key, max_retries=0) as client:
        async def one(seed):
            stream = await client.completions.create(model=model, prompt=PROMPT, stream=True, seed=seed, max_tokens=8)
            return "".join([chunk.choices[0].text async for chunk in stream])

        alone = [await one(seed) for seed in range(8)]
        together = await asyncio.gather(*[one(seed) for seed in range(8)])
        for seed in range(8):
            check.equal(together[seed], alone[seed], f"seed {seed} alone and in company")


def check_embeddings(check, client, strict, model):
    def vectors(**request):
        # The package asks for base64 unless told otherwise; its own schema knows lists only.
        answer = (strict if "encoding_format" in request else client).embeddings.create(model=model, **request)
        check.equal([item.index for item in answer.data], list(range(len(answer.data))), "indices")
        check.equal(answer.usage.total_tokens, answer.usage.prompt_tokens, "total tokens of embeddings")
        return [array.array("f", item.embedding) for item in answer.data]

    texts = [PROMPT, "The sun", PROMPT]
    alone = vectors(input=PROMPT)[0]
    check(len(alone) > 1, "numbers of a vector")
    check.equal(vectors(input=PROMPT, encoding_format="float")[0], alone, "as floats and as base64")
    check.equal(vectors(input=texts), [alone, vectors(input="The sun")[0], alone], "a list of texts")
    tokens = vectors(input=[5, 6, 7])[0]
    check.equal(vectors(input=[[5, 6, 7], [8]])[0], tokens, "a list of lists of token ids")
    check.equal(len(vectors(input=texts * 100)), 300, "300 texts")
    check.equal(len(vectors(input=PROMPT, dimensions=2)[0]), 2, "dimensions")
    for param, request in (("input", {"input": []}), ("dimensions", {"input": "x", "dimensions": 0}),
                           ("encoding_format", {"input": "x", "encoding_format": "int8"})):
        check.raises(openai.BadRequestError, param, f"embeddings: {param}",
                     lambda request=request: client.embeddings.create(model=model, **request))
    check.raises(openai.BadRequestError, None, "too long an input",
                 lambda: client.embeddings.create(model=model, input="word " * 100_000))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", help="http://host:port")
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--no-chat", action="store_true", help="the model has no chat template")
    parser.add_argument("--embeddings", choices=["no", "too", "only"], default="no", help="whether it makes vectors")
    options = parser.parse_args()
    base = options.base.rstrip("/")
    settings = {"base_url": base + "/v1", "api_key": options.api_key, "max_retries": 0, "timeout": 60}
    client = openai.OpenAI(**settings)
    # Its schemas of completions know no chunk before the last, and no first token of a prompt.
    strict = openai.OpenAI(_strict_response_validation=True, **settings)
    check = Checks()
    model = check_state(check, base, strict)
    if options.embeddings == "no":
        check.raises(openai.BadRequestError, None, "no embeddings",
                     lambda: client.embeddings.create(model=model, input="x"))
    else:
        check_embeddings(check, client, strict, model)
    if options.embeddings == "only":
        for call in (lambda: client.completions.create(model=model, prompt="x"),
                     lambda: client.chat.completions.create(model=model, messages=MESSAGES)):
            check.raises(openai.BadRequestError, None, "text of an embedding model", call)
        print(json.dumps({"checks": check.done, "failed": check.failed}))
        return 1 if check.failed else 0
    check_completions(check, client, strict, model)
    check_streams(check, client, model)
    check_tokens(check, base, options.api_key, client, model, not options.no_chat)
    if not options.no_chat:
        check_chat(check, strict, model)
    check_errors(check, base, client, model, not options.no_chat)
    check_concurrency(check, client, model)
    asyncio.run(check_async(check, base, options.api_key, model))
    check_cancellation(check, base, options.api_key, client, model)
    if options.api_key != "none":
        stranger = openai.OpenAI(base_url=base + "/v1", api_key="wrong", max_retries=0)
        check.raises(openai.AuthenticationError, None, "a wrong key", stranger.models.list)
        check.raises(openai.AuthenticationError, None, "a wrong key for a stream",
                     lambda: stranger.completions.create(model=model, prompt="x", stream=True))
    print(json.dumps({"checks": check.done, "failed": check.failed}))
    return 1 if check.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

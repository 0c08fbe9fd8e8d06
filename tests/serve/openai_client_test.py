#!/usr/bin/env python3
"""The official `openai` package against a running server: any model, or the fake engine.

    openai_client_test.py http://127.0.0.1:1234 [--api-key KEY] [--no-chat]

Prints the number of checks; exits with 1 when one fails.
"""
import argparse
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
    return models[0].id


def check_completions(check, client, model):
    whole = client.completions.create(model=model, prompt=PROMPT, **GREEDY)
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

    two = client.completions.create(model=model, prompt=[PROMPT, "The sun"], n=2, seed=1, max_tokens=4)
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
    if chat:
        check.raises(bad, "messages", "no messages", lambda: client.chat.completions.create(model=model, messages=[]))
        check.raises(bad, "top_logprobs", "top_logprobs alone",
                     lambda: client.chat.completions.create(model=model, messages=MESSAGES, top_logprobs=2))
    wrong = client.with_options(base_url=base + "/v9")
    check.raises(openai.NotFoundError, None, "unknown route", lambda: wrong.completions.create(model=model, prompt="x"))


def check_cancellation(check, base, client, model):
    before = metrics(base)["arc_requests_cancelled_total"]
    stream = client.completions.create(model=model, prompt=PROMPT, stream=True, max_tokens=1000,
                                       extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    for _ in range(100):
        now = metrics(base)
        if now["arc_requests_cancelled_total"] > before and now["arc_requests_running"] == 0:
            break
        time.sleep(0.05)
    check(now["arc_requests_cancelled_total"] > before, "a closed stream is cancelled")
    check.equal(now["arc_requests_running"], 0, "nothing runs on")


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", help="http://host:port")
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--no-chat", action="store_true", help="the model has no chat template")
    options = parser.parse_args()
    base = options.base.rstrip("/")
    client = openai.OpenAI(base_url=base + "/v1", api_key=options.api_key, max_retries=0, timeout=60)
    check = Checks()
    model = check_state(check, base, client)
    check_completions(check, client, model)
    if not options.no_chat:
        check_chat(check, client, model)
    check_errors(check, base, client, model, not options.no_chat)
    check_cancellation(check, base, client, model)
    check_concurrency(check, client, model)
    if options.api_key != "none":
        stranger = openai.OpenAI(base_url=base + "/v1", api_key="wrong", max_retries=0)
        check.raises(openai.AuthenticationError, None, "a wrong key", stranger.models.list)
    print(json.dumps({"checks": check.done, "failed": check.failed}))
    return 1 if check.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

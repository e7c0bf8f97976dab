"""The environment by verifiers' own command, against a server on the loopback interface; prime-rl's reader on the shipped settings.

Run by `make environment-test`, in an environment of its own: verifiers asks for packages that generank does not."""
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("verifiers", reason="verifiers is not installed here: make environment-test")
HERE = Path(__file__).resolve().parents[1]
UV = """#!/bin/sh
# In place of uv, which would fetch the harness's packages: they are in this environment
case "$1" in sync) exit 0;; python) echo "%s";; esac
"""


@pytest.fixture(scope="module")
def loci():
    from gwas_causal_gene.taskset import GwasCausalGeneConfig, GwasCausalGeneTaskset
    return {t.data.prompt: t.data for t in GwasCausalGeneTaskset(GwasCausalGeneConfig(id="gwas-causal-gene", split="test", style="answer"))}


@pytest.fixture
def server(loci):
    "Answers each locus in turn with the causal gene first, second, absent, and inside its thinking only."
    asked = []
    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = "\n".join(m["content"] for m in body["messages"] if m["role"] == "user")
            data = loci[text]
            others = [g for g in data.candidates if g != data.causal_gene]
            place = list(loci).index(text)
            lists = [[data.causal_gene, *others], [others[0], data.causal_gene], others, others]
            said = f"<genes> [{', '.join(lists[place % 4])}] </genes>"
            if place % 4 == 3: said = f"<think> <genes> [{data.causal_gene}] </genes> </think> {said}"
            asked.append((body["model"], place))
            chunk = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": body["model"]}
            parts = [{**chunk, "choices": [{"index": 0, "delta": {"role": "assistant", "content": said}, "finish_reason": None}]},
                     {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
                     {**chunk, "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}}]
            answer = "".join(f"data: {p}\n\n" for p in [*map(json.dumps, parts), "[DONE]"]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        def log_message(self, *_): pass
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}/v1", asked
    serving.shutdown()


def test_every_locus_can_be_scored(loci):
    assert len(loci) > 100
    for data in list(loci.values())[:50]: assert data.causal_gene in data.candidates and data.prompt.count(data.causal_gene)


@pytest.mark.parametrize("reward, wanted", [("rank", [1, 0.5, 0, 0]), ("binary", [1, 0, 0, 0])])
def test_vf_eval_scores_with_the_rewards_of_generank(server, tmp_path, reward, wanted):
    address, asked = server
    (tmp_path/"uv").write_text(UV % sys.executable)
    (tmp_path/"uv").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "OPENAI_API_KEY": "none", "HF_HUB_OFFLINE": "1"}
    command = [Path(sys.executable).with_name("vf-eval"), "gwas-causal-gene", "-m", "a-model", "-n", "4", "-r", "1", "--no-push", "--no-rich", "-o", tmp_path/"out", "--run.name", reward,
               "--client.base-url", address, "--client.api-key-var", "OPENAI_API_KEY", "--env.taskset.split", "test", "--env.taskset.style", "answer",
               "--env.taskset.task.reward", reward, "--env.agent.harness.id", "null", "--env.agent.runtime.type", "subprocess"]
    done = subprocess.run([*map(str, command)], env=env, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    files = [*(tmp_path/"out").rglob("traces.jsonl")]
    traces = [trace for line in files[0].read_text().splitlines() for trace in json.loads(line).get("traces", [json.loads(line)])]
    by_place = {t["task"]["data"]["idx"]: t for t in traces}
    assert [by_place[i]["rewards"]["causal_gene"]["score"] for i in range(4)] == wanted, done.stdout[-2000:]
    assert [by_place[i]["metrics"]["reciprocal_rank"] for i in range(4)] == [1, 0.5, 0, 0]
    assert len(asked) == 4 and {model for model, _ in asked} == {"a-model"}


def test_prime_rl_reads_the_settings():
    configs = pytest.importorskip("prime_rl.configs.rl", reason="prime-rl's configuration package is not installed here")
    from prime_rl.utils.config import cli
    made = cli(configs.RLConfig, args=["@", str(HERE/"prime-rl.toml")])
    source = made.orchestrator.train.source[0]
    assert made.orchestrator.group_size == 16 and source.env.taskset.split == "train" and source.env.taskset.task.reward == "rank"

"""The task: a trait and candidate genes in, a ranked list out; scored by the rank of the causal gene."""
from typing import Literal

import verifiers.v1 as vf

from generank.data import load_loci
from generank.parsing import parse_answer
from generank.prompts import build_prompt
from generank.rewards import binary_reward, format_reward, rank_reward


class LocusData(vf.TaskData):
    "A locus: the causal gene is the answer, the candidates are what the prompt lists."
    causal_gene: str
    candidates: list[str]
    trait: str


class LocusConfig(vf.TaskConfig):
    "How an answer is scored, under `--env.taskset.task`."
    reward: Literal["rank", "binary"] = "rank"
    "`rank`: 1/rank of the causal gene; `binary`: 1 where it is first."


class LocusTask(vf.Task[LocusData, vf.State, LocusConfig]):
    "generank's rewards on the last reply; both are always recorded, one of them is trained on."

    def _scored(self, reward, trace) -> float:
        data = self.data
        return reward([trace.last_reply], answer=[data.causal_gene], candidates=[data.candidates])[0]

    @vf.reward(weight=1.0)
    async def causal_gene(self, trace: vf.Trace) -> float:
        return self._scored(rank_reward if self.config.reward == "rank" else binary_reward, trace)

    @vf.metric
    async def reciprocal_rank(self, trace: vf.Trace) -> float:
        return self._scored(rank_reward, trace)

    @vf.metric
    async def top_1(self, trace: vf.Trace) -> float:
        return self._scored(binary_reward, trace)

    @vf.metric
    async def well_formed(self, trace: vf.Trace) -> float:
        return format_reward([trace.last_reply])[0]

    @vf.metric
    async def list_length(self, trace: vf.Trace) -> float:
        return float(len(parse_answer(trace.last_reply, self.data.candidates).genes))


class GwasCausalGeneConfig(vf.TasksetConfig):
    "Which loci are asked about, and how, under `--env.taskset`."
    task: LocusConfig = LocusConfig()
    split: Literal["train", "validation", "test"] = "train"
    "Split of the loci; no region lies in two of them."
    source: str = "bundled"
    "As `data.source` of a generank profile: `bundled`, a file or a folder."
    style: str = "standard"
    "Prompt style; `answer` asks for the list alone."
    descriptions: bool = False
    "Whether each candidate's description stands in the prompt."


class GwasCausalGeneTaskset(vf.Taskset[LocusTask, GwasCausalGeneConfig]):
    "One task for each locus of a split."

    def load(self) -> list[LocusTask]:
        config, tasks = self.config, []
        for row in load_loci(source=config.source)[config.split]:
            prompt = build_prompt(row["trait"], row["candidates"], config.style, config.descriptions)
            said = {m["role"]: m["content"] for m in prompt}
            data = LocusData(id=row["locus_id"], name=row["locus_id"], prompt=said["user"], system_prompt=said.get("system"), trait=row["trait"],
                             causal_gene=row["causal_gene"], candidates=list(row["candidates"]))
            tasks.append(LocusTask(data, config.task))
        return tasks

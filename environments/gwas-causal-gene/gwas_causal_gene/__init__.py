from gwas_causal_gene.taskset import GwasCausalGeneTaskset

__all__ = ["GwasCausalGeneTaskset"]

"""The tiny models, one entry per family, in a file per maker.

To add a family, add one entry to its maker's FAMILIES: a config with every feature of the family on (windows and original
contexts shorter than the prompt, head_dim != hidden_size / heads, sizes that are not powers of two, an eps that shows),
plus a rule for each tensor that the rules of golden/family.py do not suit. Names and shapes of the tensors come from
transformers.
"""

from golden.families import deepseek, gemma, glm, gpt_oss, granite, llama, phi, qwen
from golden.family import Family

FAMILIES: dict[str, Family] = {
    name: family
    for maker in (deepseek, gemma, glm, gpt_oss, granite, llama, phi, qwen)
    for name, family in maker.FAMILIES.items()
}

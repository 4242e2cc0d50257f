"""MCP tools under control: what servers declare, what of it may pass, and who decided so.

Workers report what a server declares (`intake`). `judgement` compares it, purely, with what was approved, by the rules of
`rules.pinning` and the findings of `findings`; `judge` commits the outcome. `decisions` is what people do about it, and
`control` is what workers are told. `discovery` asks servers by itself, `holds` keeps calls that wait for a person, and
`behaviour` watches how tools are used.
"""

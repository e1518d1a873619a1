#!/usr/bin/env python3
"""Writes a binary and a [[bin]] entry for each name in TARGETS of src/targets.rs."""
import pathlib
import re

here = pathlib.Path(__file__).parent
rows = re.findall(r'\("(\w+)", [\w:<>]+\)', (here / "src/targets.rs").read_text())
manifest = here / "Cargo.toml"
head = manifest.read_text().split("\n[[bin]]")[0].rstrip() + "\n"
for name in rows:
    (here / f"fuzz_targets/{name}.rs").write_text(
        "#![no_main]\n\nlibfuzzer_sys::fuzz_target!(|bytes: &[u8]| proto_spec_fuzz::run(\"%s\", bytes));\n" % name)
    head += f'\n[[bin]]\nname = "{name}"\npath = "fuzz_targets/{name}.rs"\ntest = false\ndoc = false\nbench = false\n'
manifest.write_text(head)

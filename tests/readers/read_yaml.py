#!/usr/bin/env python3
"""Prints the documents of a YAML file as one JSON array.

Usage: read_yaml.py FILE
"""

import json
import sys

import yaml


class Strict(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.YAMLError(f"a key stands twice: {sorted(keys)} {node.start_mark}")
        return super().construct_mapping(node, deep)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print(json.dumps(list(yaml.load_all(file, Loader=Strict))))

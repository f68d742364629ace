"""Programs that read a camera or a stream in a process of their own.

They are started by path, not as modules, so that the interpreter that runs them loads this folder and nothing else of
edgegender: the Raspberry Pi camera's runs under the system's Python, where edgegender is not installed. Each module
here may import the standard library, its neighbours by their bare names, and the one library that it is about.
"""

"""Several processes behind one set of listening sockets: ``--workers``.

The supervisor (`supervisor`) binds the sockets and never accepts; it starts the workers (`crew`), each an
interpreter of its own (`worker`) that inherits the sockets (`sockets`) and talks with it in lines of JSON
(`lines`, `passing`). For the admin endpoint, `overseer` makes one server of all.
"""

"""What a browser or another program sees of a camera, and answers for photos over HTTP (Starlette and uvicorn).

:func:`edgegender.serving.server.start_preview` is the way in for a camera, :mod:`edgegender.serving.predictions` for
photos. Nothing in here imports Starlette or uvicorn before it is asked to serve.
"""

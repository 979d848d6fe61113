"""
What must change: the only writer.

`engine.py` is the face: one method for each operation. It takes the upper's lock, lets `resolve` say what is
there (`survey.py`), lets `plan.py` decide what has to be done, as data (`steps.py`), and lets `apply.py`
do it: the one file that changes an upper, with `copy_up.py` (one object from a lower), `marks.py` (whiteouts
and opaque directories), `door.py` (one writer at a time) and `work.py` (the work area, what the dead left).
`handle.py` is a file open for writing that isn't copied up before something is written; `changes.py` says
what an upper changes.
"""

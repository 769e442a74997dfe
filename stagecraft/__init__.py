"""What every stage relies on and no reader of the network needs.

Settings are refused in one message (configuration.py), inputs may not change meanwhile (inputs.py), results are whole
files or none (output.py), tables and networks are checked when they are read (tables.py, checkpoint.py), an interrupted
training goes on where it was (resume.py), and what a user can mend is said without a traceback (errors.py). It imports
nothing of the stages; of the project it knows the names of its folders, DVC's files, `Trainer` and the commands that it
advises.
"""

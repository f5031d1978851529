"""What wsecho costs and what it withstands, measured from outside: every server is a process of its own,
and so is whoever loads it. The pages of the documentation take their figures from here, each written by the
module that it names.
"""

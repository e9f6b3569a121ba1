"""The desk's part for workflows: plans that are decided on and then carried out, and reviews.

A workflow is entered, decided on and shown here; what it consists of are operations, and the
workshop knows nothing else.
"""

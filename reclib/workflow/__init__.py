"""Run the notebooks: plan, execute, resume, publish. Notebooks are known by their file names; no layer is imported."""

"""The paper's evidence, rerun: experiments as a list, their runs, tables, figures and pages."""

"""Workers: what a template, and the workers that it forks, have of their supervisor."""

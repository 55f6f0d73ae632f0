"""What there is, and what runs where: `survey` finds it, `columns` shows it."""

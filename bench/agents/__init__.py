"""How well agents do: tasks with a judge that stands outside of them."""

"""Where data sets come from: each file knows one layout, and lists what lies there."""

"""What a data set holds, and what is wrong with it: findings from its index, their words, the report."""

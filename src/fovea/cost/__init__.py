"""What a network costs: shapes, parameters, multiply-adds, counted by running the real module on the meta device."""

"""Who a caller is, and what each RPC needs of them."""

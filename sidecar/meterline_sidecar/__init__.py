"""The daemon beside the app: ingests usage events, rates them, reports them."""

"""``scripts/cluster start|stop|import IMAGE...``"""

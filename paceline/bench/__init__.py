"""Measurements that can be believed: same process, same weights, interleaved, with intervals, beside stock code."""

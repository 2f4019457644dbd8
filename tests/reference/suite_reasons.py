def reason_of(x):
    return None

//! Run, train, share and put to work open models on machines that you own.

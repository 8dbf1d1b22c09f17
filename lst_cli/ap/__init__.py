"""Average precision: ground truth, detections, matching, intervals, kinds of error."""

// What each number means, told where it stands.

export const MEANINGS = {
  probability: "How probable the model holds this class, if the lesion is of one of its classes. All of them add up to 100 %. A mark on the bar is the threshold of an operating point.",
  entropy: "How far the probability is spread over the classes: 0 % when one class has it all, 100 % when all have the same.",
  outline: "How much of the lesion's area is in doubt: pixels whose probability of lesion lies between 20 % and 80 %.",
  disagreement: "How far the answers to turned, mirrored and cut copies of the image lie apart.",
  ood_score: "How unlike the training images this one is. At most 1 is usual; 1 image in 100 of the usual kind is above. Above it, do not rely on the answer.",
  area: "How large what the outline encloses is, as a share of the image and, where the scale is known, in square millimetres.",
  extent: "Width and height of the smallest upright rectangle round the outline that is measured.",
  diameter: "The longest straight line between two points of the outline that is measured. “Longest diameter” below the image shows it.",
  scale: "Millimetres of a pixel: from the file where a DICOM file says so, or from the line that you drew along something of known length.",
  dice: "How much two outlines share: twice the shared area, divided by the sum of both areas. 1 is the same outline, 0 nothing in common.",
  coarse: "Whose rough outline led the classifier. The last network then outlines the lesion anew, from the image and the activation map: it may keep to its own.",
  class: "The most probable class, by the model's own outline and by the corrected one.",
};
